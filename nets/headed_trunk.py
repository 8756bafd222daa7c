"""A trunk with named heads: discriminator, classifier and encoder in one network."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor, nn

from nets.dimensions import map_to_vector
from nets.init import init_weights_
from nets.layers import LayerSpec, build_layers, flattened_shape
from nets.listed import ListedTrunk
from nets.noise import GaussianNoise
from nets.spectral import apply_spectral_norm_
from nets.trunk import Trunk

__all__ = ["HeadedTrunk"]

BOTTLENECK = 2  # units, in widths of the first stage: 128 in Table 5


class HeadedTrunk(nn.Module):
    """A trunk with named heads, each a linear map from the features to a vector.

    Carton et al. (2024), Table 4 and Fig. 2: D, C, Q_z and Q_s share all layers but the last, and
    each head adds its own noise. The outputs are logits (D, C) or unbounded numbers (z, s), never
    probabilities.

    On a spectrally normalised trunk the heads are those of Table 5. A head has a bottleneck of 128
    units with LeakyReLU 0.2 before its last layer, and both of its layers are spectrally
    normalised. D and C, passed as `without_bottleneck` and `unnormalised`, have only a linear layer
    with a bias and no normalisation. The table lists a LeakyReLU after the codes as well. Here the
    codes are linear, as in the authors' code, because the numbers to be read have no lower bound.
    The biases (none in the bottleneck) also follow the authors' code.

    Args:
        trunk: the network that computes the features.
        heads: name -> number of outputs, e.g. `{"D": 1, "C": 1, "z": 64, "s": 64}`.
        noise: standard deviation of the noise before each layer of a head. The trunk's when None.
        hidden: linear layers of each head before its last (see `nets.layers`). They read the
            flattened features.
        bias: whether the layers of the heads may have biases. Those of Table 4 have none.
        without_bottleneck: heads without the bottleneck on a spectrally normalised trunk.
        unnormalised: heads with a last layer that is not normalised on such a trunk.

    Raises:
        ValueError: the hidden layers do not fit.
    """

    def __init__(
        self,
        trunk: Trunk | ListedTrunk,
        heads: Mapping[str, int],
        noise: float | None = None,
        hidden: Sequence[LayerSpec] = (),
        bias: bool = False,
        without_bottleneck: Collection[str] = (),
        unnormalised: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.trunk = trunk
        noise = trunk.noise if noise is None else noise
        units = 0
        if isinstance(trunk, Trunk) and trunk.norm == "spectral":
            units = BOTTLENECK * trunk.width
        self.heads = nn.ModuleDict()
        for name, outputs in heads.items():
            bottleneck = 0 if name in without_bottleneck else units
            self.heads[name] = self._build_head(
                outputs, noise, hidden, bias or units > 0, bottleneck
            )
        init_weights_(self.heads, trunk.init)
        if units:
            for name, head in self.heads.items():
                assert isinstance(head, nn.Sequential)
                apply_spectral_norm_(head[:-2] if name in unnormalised else head)

    def _build_head(
        self, outputs: int, noise: float, hidden: Sequence[LayerSpec], bias: bool, bottleneck: int
    ) -> nn.Sequential:
        shape, before = self.trunk.shape, []
        if bottleneck:
            before = [
                GaussianNoise(noise),
                map_to_vector(shape, bottleneck),
                nn.Flatten(),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            shape = (bottleneck,)
        if hidden:
            parts, shape = build_layers(
                "head", hidden, flattened_shape(shape), noise=noise, bias=bias
            )
            before += [nn.Flatten(), *parts]
        return nn.Sequential(
            *before, GaussianNoise(noise), map_to_vector(shape, outputs, bias), nn.Flatten()
        )

    def forward(self, image: Tensor, heads: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Maps images to the outputs of the heads.

        Args:
            image: images, (B, *shape).
            heads: names of the heads to compute. All heads when None.

        Returns:
            head -> (B, outputs).
        """
        features = self.trunk(image)
        names = self.heads if heads is None else heads
        return {name: self.heads[name](features) for name in names}
