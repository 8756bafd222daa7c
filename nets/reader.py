"""A trunk with named linear heads: what reads an image, be it a discriminator or an encoder."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from nets.dimensions import gathering
from nets.init import initialised
from nets.layers import Layer, flat, layers
from nets.listed import ListedTrunk
from nets.noise import GaussianNoise
from nets.trunk import Trunk

__all__ = ["Reader"]


class Reader(nn.Module):
    """Creates a trunk with named heads, each a valid convolution of the features to a vector, no activation.

    Carton et al. (2024), Table 4 and Fig. 2: D, C, Q_z and Q_s share all layers but the last; each head adds noise of
    its own. Outputs are logits (D, C) or plain numbers (z, s), never probabilities.

    Args:
        trunk: whose features the heads read.
        heads: name -> number of outputs, e.g. `{"D": 1, "C": 1, "z": 64, "s": 64}`.
        noise: standard deviation of the noise before each layer of a head; the trunk's when None.
        hidden: linear layers of each head before its last, see `nets.layers`; they read the flattened features.
        bias: whether the heads' layers may have biases; the paper's have none.

    Raises:
        ValueError: the hidden layers do not fit.
    """

    def __init__(
        self,
        trunk: Trunk | ListedTrunk,
        heads: Mapping[str, int],
        noise: float | None = None,
        hidden: Sequence[Layer] = (),
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        noise = trunk.noise if noise is None else noise
        self.heads = nn.ModuleDict({name: self._head(outputs, noise, hidden, bias) for name, outputs in heads.items()})
        initialised(self.heads, trunk.init)

    def _head(self, outputs: int, noise: float, hidden: Sequence[Layer], bias: bool) -> nn.Sequential:
        shape, before = self.trunk.shape, []
        if hidden:
            parts, shape = layers("head", hidden, flat(shape), noise=noise, bias=bias)
            before = [nn.Flatten(), *parts]
        return nn.Sequential(*before, GaussianNoise(noise), gathering(shape, outputs, bias), nn.Flatten())

    def forward(self, image: Tensor, heads: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Reads images (B, *shape).

        Args:
            image: the images.
            heads: the heads to compute; all of them when None.

        Returns:
            head -> (B, outputs).
        """
        features = self.trunk(image)
        return {name: self.heads[name](features) for name in (self.heads if heads is None else heads)}
