"""The generator of Double InfoGAN, which is also every VAE's decoder."""

from torch import Tensor, nn

from nets.init import dcgan_init
from nets.stages import stages

__all__ = ["Generator"]


class Generator(nn.Module):
    """Creates a DCGAN generator: code -> image in [-1, 1].

    Carton et al. (2024), Table 4: a 4x4 transposed convolution of the code to 512 channels, then 4x4 transposed
    convolutions of stride 2 to 256, 128, 64 and the image's channels, batch normalisation and ReLU after all but the
    last, tanh at the end, no biases. 64x64x3 with 100 latents: 3,576,704 parameters.

    Args:
        latents: length of the code, that is z and s together.
        channels: of the image.
        resolution: side of the image, `b * 2**k` with b = 3..7.
        width: channels of the stage next to the image (64 in the paper).

    Raises:
        ValueError: the resolution cannot be built.
    """

    def __init__(self, latents: int, channels: int, resolution: int, width: int = 64) -> None:
        super().__init__()
        base, widths = stages(resolution, width)
        self.latents = latents
        self.first = nn.Sequential(
            nn.ConvTranspose2d(latents, widths[-1], base, bias=False), nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)
        )
        self.doublings = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(narrow),
                    nn.ReLU(inplace=True),
                )
                for wide, narrow in zip(widths[::-1], widths[-2::-1], strict=False)
            )
        )
        self.last = nn.Sequential(nn.ConvTranspose2d(widths[0], channels, 4, stride=2, padding=1, bias=False), nn.Tanh())
        dcgan_init(self)

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes (B, latents) to images (B, channels, resolution, resolution) in [-1, 1]."""
        return self.last(self.doublings(self.first(code[:, :, None, None])))
