"""A trunk with named linear heads: what reads an image, be it a discriminator or an encoder."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor, nn

from nets.dimensions import map_to_vector
from nets.init import init_weights_
from nets.layers import Layer, build_layers, flattened_shape
from nets.listed import ListedTrunk
from nets.noise import GaussianNoise
from nets.spectral import apply_spectral_norm_
from nets.trunk import Trunk

__all__ = ["HeadedTrunk"]

UNITS = 2  # of the layer before a code's head, in widths of the first stage: 128 in Table 5


class HeadedTrunk(nn.Module):
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
        without_bottleneck: heads without the layer of 128 units on a spectrally normalised trunk.
        unnormalised: heads whose last layer is not normalised there.

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
        without_bottleneck: Collection[str] = (),
        unnormalised: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.trunk = trunk
        noise = trunk.noise if noise is None else noise
        units = UNITS * trunk.width if isinstance(trunk, Trunk) and trunk.norm == "spectral" else 0
        self.heads = nn.ModuleDict()
        for name, outputs in heads.items():
            through = 0 if name in without_bottleneck else units
            self.heads[name] = self._head(outputs, noise, hidden, bias or units > 0, through)
        init_weights_(self.heads, trunk.init)
        if units:
            for name, head in self.heads.items():
                assert isinstance(head, nn.Sequential)
                apply_spectral_norm_(head[:-2] if name in unnormalised else head)

    def _head(
        self, outputs: int, noise: float, hidden: Sequence[Layer], bias: bool, through: int
    ) -> nn.Sequential:
        shape, before = self.trunk.shape, []
        if through:
            before = [
                GaussianNoise(noise),
                map_to_vector(shape, through),
                nn.Flatten(),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            shape = (through,)
        if hidden:
            parts, shape = build_layers(
                "head", hidden, flattened_shape(shape), noise=noise, bias=bias
            )
            before += [nn.Flatten(), *parts]
        return nn.Sequential(
            *before, GaussianNoise(noise), map_to_vector(shape, outputs, bias), nn.Flatten()
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
