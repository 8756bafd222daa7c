"""The convolutional trunk that discriminator, classifier and encoder share."""

from collections.abc import Sequence

from torch import Tensor, nn

from nets.dimensions import LAYER_TYPES, spatial_sides, strided_conv
from nets.init import init_weights_
from nets.noise import GaussianNoise
from nets.spectral import apply_spectral_norm_
from nets.stages import plan_stages

__all__ = ["Trunk"]


class Trunk(nn.Module):
    """Creates a DCGAN trunk: image -> feature map of `features` channels and side `base`.

    Carton et al. (2024), Table 4: 4x4 convolutions of stride 2 to 64, 128, 256, 512 channels without biases, batch
    normalisation on all but the first, LeakyReLU 0.2, Gaussian noise before each. Volumes get the same with a third
    dimension, vectors two linear layers to 512. Table 5, for 128x128, normalises the convolutions' weights by their
    largest singular value instead; as in the authors' code, they then have biases (the table does not say).

    Args:
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        width: channels of the first stage (64 in the paper).
        noise: standard deviation of the noise before every layer; 0 for a VAE's encoder.
        init: `dcgan` or `torch`, see `nets.init`.
        norm: `batch` (Table 4) or `spectral` (Table 5).

    Attributes:
        features: channels of the feature map (512 in the paper).
        base: side of the feature map (4 in the paper); 1 for a vector of features.
        shape: of the features, without the batch.

    Raises:
        ValueError: the shape cannot be built.
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
            batch = [LAYER_TYPES[dims].batch(after)] if layers and norm == "batch" else []
            conv = strided_conv(dims, before, after, bias=norm == "spectral")
            layers.append(
                nn.Sequential(GaussianNoise(noise), conv, *batch, nn.LeakyReLU(0.2, inplace=True))
            )
        self.halvings = nn.Sequential(*layers)
        init_weights_(self, init)
        if norm == "spectral":
            apply_spectral_norm_(self)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (B, *shape) to features (B, features, base, base), (B, features, base, base, base) or (B, features)."""
        return self.halvings(image)
