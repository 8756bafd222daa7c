"""The generator of Double InfoGAN, which is also every VAE's decoder."""

from collections.abc import Sequence

from torch import Tensor, nn

from nets.dimensions import KINDS, doubling, sides, spreading
from nets.init import initialised
from nets.scale import output_layers
from nets.stages import stages

__all__ = ["Generator"]


class Generator(nn.Module):
    """Creates a DCGAN generator: code -> image in [-1, 1].

    Carton et al. (2024), Table 4: a 4x4 transposed convolution of the code to 512 channels, then 4x4 transposed
    convolutions of stride 2 to 256, 128, 64 and the image's channels, batch normalisation and ReLU after all but the
    last, tanh at the end, no biases. 64x64x3 with 100 latents: 3,576,704 parameters. Volumes get the same with a third
    dimension, vectors linear layers to 512, 512 and their length.

    Args:
        latents: length of the code, that is z and s together.
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        width: channels of the stage next to the image (64 in the paper).
        output: last activation, see `nets.scale`.
        init: `dcgan` or `torch`, see `nets.init`.

    Raises:
        ValueError: the shape cannot be built.
    """

    def __init__(self, latents: int, shape: Sequence[int], width: int = 64, output: str = "tanh", init: str = "dcgan") -> None:
        super().__init__()
        base, widths = stages(shape, width)
        self.dims = len(sides(shape))
        batch = KINDS[self.dims].batch
        self.first = nn.Sequential(spreading(self.dims, latents, widths[-1], base), batch(widths[-1]), nn.ReLU(inplace=True))
        self.doublings = nn.Sequential(
            *(
                nn.Sequential(doubling(self.dims, wide, narrow), batch(narrow), nn.ReLU(inplace=True))
                for wide, narrow in zip(widths[::-1], widths[-2::-1], strict=False)
            )
        )
        self.last = nn.Sequential(doubling(self.dims, widths[0], shape[0]), *output_layers(output))
        initialised(self, init)

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes (B, latents) to images (B, *shape) in [-1, 1], or beyond for a linear output."""
        return self.last(self.doublings(self.first(code.reshape(*code.shape, *(1,) * self.dims))))
