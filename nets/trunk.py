"""The convolutional trunk that discriminator, classifier and encoder share."""

from collections.abc import Sequence

from torch import Tensor, nn

from nets.dimensions import norm_layer, spatial_sides, strided_conv
from nets.init import init_weights_
from nets.noise import GaussianNoise
from nets.recompute import Blocks
from nets.spectral import apply_spectral_norm_
from nets.stages import plan_stages

__all__ = ["Trunk"]


class Trunk(nn.Module):
    """A DCGAN trunk, which maps an image to a feature map of `features` channels and side `base`.

    With `norm: batch` it is that of Table 4, Carton et al. (2024): 4x4 convolutions of stride 2 to
    64, 128, 256 and 512 channels without biases, batch normalisation after all but the first,
    LeakyReLU 0.2, and Gaussian noise before each. Volumes get the same layers with a third
    dimension. Vectors get two linear layers to 512.

    With `norm: spectral` it is that of Table 5, for 128x128 images: the weights of the convolutions
    are divided by their largest singular value, and batch normalisation is absent. The convolutions
    have biases, as in the authors' code. The table does not mention them.

    Args:
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        width: channels of the first stage (64 in the paper).
        noise: standard deviation of the noise before every layer. VAEs use 0.
        init: `dcgan` or `torch` (see `nets.init`).
        norm: `batch` (Table 4), `spectral` (Table 5), or `channel` in the places of `batch`, which
            treats every image by itself (see `nets.dimensions.norm_layer`).

    Attributes:
        features: channels of the feature map (512 in the paper).
        base: side of the feature map (4 in the paper). 1 for a vector of features.
        shape: of the features, without the batch.

    Raises:
        ValueError: no trunk can be built for the shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 64,
        noise: float = 0.2,
        init: str = "dcgan",
        norm: str = "batch",
    ) -> None:
        super().__init__()
        dims = len(spatial_sides(shape))
        self.base, widths = plan_stages(shape, width)
        self.features = widths[-1]
        self.shape = (self.features, *(self.base,) * dims)
        self.noise, self.init, self.norm, self.width = noise, init, norm, width
        layers = []
        for before, after in zip((shape[0], *widths), widths, strict=False):
            normed = layers and norm != "spectral"
            norms = [norm_layer(norm, (after, *(1,) * dims))] if normed else []
            conv = strided_conv(dims, before, after, bias=norm == "spectral")
            layers.append(
                nn.Sequential(GaussianNoise(noise), conv, *norms, nn.LeakyReLU(0.2, inplace=True))
            )
        self.halvings = Blocks(*layers)
        init_weights_(self, init)
        if norm == "spectral":
            apply_spectral_norm_(self)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (B, *shape) to features.

        Returns:
            (B, features, base, base), (B, features, base, base, base) or (B, features).
        """
        return self.halvings(image)
