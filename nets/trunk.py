"""The convolutional trunk that discriminator, classifier and encoder share."""

from torch import Tensor, nn

from nets.init import dcgan_init
from nets.noise import GaussianNoise
from nets.stages import stages

__all__ = ["Trunk"]


class Trunk(nn.Module):
    """Creates a DCGAN trunk: image -> feature map of `features` channels and `base` x `base` pixels.

    Carton et al. (2024), Table 4: 4x4 convolutions of stride 2 to 64, 128, 256, 512 channels without biases, batch
    normalisation on all but the first, LeakyReLU 0.2, Gaussian noise before each.

    Args:
        channels: of the image.
        resolution: side of the image, `b * 2**k` with b = 3..7.
        width: channels of the first stage (64 in the paper).
        noise: standard deviation of the noise before every layer; 0 for a VAE's encoder.

    Attributes:
        features: channels of the feature map (512 in the paper).
        base: side of the feature map (4 in the paper).

    Raises:
        ValueError: the resolution cannot be built.
    """

    def __init__(self, channels: int, resolution: int, width: int = 64, noise: float = 0.2) -> None:
        super().__init__()
        self.base, widths = stages(resolution, width)
        self.features = widths[-1]
        self.noise = noise
        layers = []
        for before, after in zip((channels, *widths), widths, strict=False):
            norm = [nn.BatchNorm2d(after)] if layers else []
            conv = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
            layers.append(nn.Sequential(GaussianNoise(noise), conv, *norm, nn.LeakyReLU(0.2, inplace=True)))
        self.halvings = nn.Sequential(*layers)
        dcgan_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (B, channels, resolution, resolution) to features (B, features, base, base)."""
        return self.halvings(image)
