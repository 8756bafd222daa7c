"""A trunk with named linear heads: what reads an image, be it a discriminator or an encoder."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from nets.init import dcgan_init
from nets.noise import GaussianNoise
from nets.trunk import Trunk

__all__ = ["Reader"]


class Reader(nn.Module):
    """Creates a trunk with named heads, each a valid convolution of the features to a vector, no activation, no bias.

    Carton et al. (2024), Table 4 and Fig. 2: D, C, Q_z and Q_s share all layers but the last; each head adds noise of
    its own. Outputs are logits (D, C) or plain numbers (z, s), never probabilities.

    Args:
        trunk: whose features the heads read.
        heads: name -> number of outputs, e.g. `{"D": 1, "C": 1, "z": 64, "s": 64}`.
        noise: standard deviation of the noise before each head; the trunk's when None.
    """

    def __init__(self, trunk: Trunk, heads: Mapping[str, int], noise: float | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    GaussianNoise(trunk.noise if noise is None else noise),
                    nn.Conv2d(trunk.features, outputs, trunk.base, bias=False),
                    nn.Flatten(),
                )
                for name, outputs in heads.items()
            }
        )
        dcgan_init(self.heads)

    def forward(self, image: Tensor, heads: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Reads images (B, C, H, W).

        Args:
            image: the images.
            heads: the heads to compute; all of them when None.

        Returns:
            head -> (B, outputs).
        """
        features = self.trunk(image)
        return {name: self.heads[name](features) for name in (self.heads if heads is None else heads)}
