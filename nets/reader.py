"""A trunk with named linear heads: what reads an image, be it a discriminator or an encoder."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor, nn

from nets.dimensions import gathering
from nets.init import initialised
from nets.layers import Layer, flat, layers
from nets.listed import ListedTrunk
from nets.noise import GaussianNoise
from nets.spectral import spectrally_normalised
from nets.trunk import Trunk

__all__ = ["Reader"]

UNITS = 2  # of the layer before a code's head, in widths of the first stage: 128 in Table 5


class Reader(nn.Module):
    """Creates a trunk with named heads, each a valid convolution of the features to a vector, no activation.

    Carton et al. (2024), Table 4 and Fig. 2: D, C, Q_z and Q_s share all layers but the last; each head adds noise of
    its own. Outputs are logits (D, C) or plain numbers (z, s), never probabilities.

    On a spectrally normalised trunk heads are those of Table 5: D and C a linear layer with a bias, not normalised, and
    the codes behind a layer of 128 units with LeakyReLU 0.2, both normalised. The table prints a LeakyReLU behind the
    codes, too; they are linear here as in the authors' code, since the numbers to be read have no lower bound. Biases
    (none in the layer of 128) are theirs as well.

    Args:
        trunk: whose features the heads read.
        heads: name -> number of outputs, e.g. `{"D": 1, "C": 1, "z": 64, "s": 64}`.
        noise: standard deviation of the noise before each layer of a head; the trunk's when None.
        hidden: linear layers of each head before its last, see `nets.layers`; they read the flattened features.
        bias: whether the heads' layers may have biases; those of Table 4 have none.
        direct: heads without the layer of 128 units on a spectrally normalised trunk.
        plain: heads whose last layer is not normalised there.

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
        direct: Collection[str] = (),
        plain: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.trunk = trunk
        noise = trunk.noise if noise is None else noise
        units = UNITS * trunk.width if isinstance(trunk, Trunk) and trunk.norm == "spectral" else 0
        self.heads = nn.ModuleDict()
        for name, outputs in heads.items():
            through = 0 if name in direct else units
            self.heads[name] = self._head(outputs, noise, hidden, bias or units > 0, through)
        initialised(self.heads, trunk.init)
        if units:
            for name, head in self.heads.items():
                assert isinstance(head, nn.Sequential)
                spectrally_normalised(head[:-2] if name in plain else head)

    def _head(
        self, outputs: int, noise: float, hidden: Sequence[Layer], bias: bool, through: int
    ) -> nn.Sequential:
        shape, before = self.trunk.shape, []
        if through:
            before = [
                GaussianNoise(noise),
                gathering(shape, through),
                nn.Flatten(),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            shape = (through,)
        if hidden:
            parts, shape = layers("head", hidden, flat(shape), noise=noise, bias=bias)
            before += [nn.Flatten(), *parts]
        return nn.Sequential(
            *before, GaussianNoise(noise), gathering(shape, outputs, bias), nn.Flatten()
        )

    def forward(self, image: Tensor, heads: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Reads images (B, *shape).

        Args:
            image: the images.
            heads: the heads to compute; all of them when None.

        Returns:
            head -> (B, outputs).
        """
        features = self.trunk(image)
        return {
            name: self.heads[name](features) for name in (self.heads if heads is None else heads)
        }
