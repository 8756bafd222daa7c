"""Trunk and generator from layer lists: a paper's own architecture behind the same two ideas."""

from collections.abc import Sequence

from torch import Tensor, nn

from nets.dimensions import spatial_sides
from nets.init import init_weights_
from nets.layers import Layer, build_layers, flattened_shape
from nets.scale import ToUnit, output_layers

__all__ = ["ListedGenerator", "ListedTrunk"]


class ListedTrunk(nn.Module):
    """Creates a trunk from a list of layers: image -> flat features.

    Args:
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        listed: the layers, see `nets.layers`; none at all leaves the image's own numbers.
        noise: standard deviation of the noise before every convolution and linear layer.
        init: `dcgan` or `torch`, see `nets.init`.
        bias: False takes every bias away.
        unit: whether the layers read images in [0, 1], as the papers' do, so that black is 0 and zero padding black.

    Attributes:
        shape: of the features, without the batch: (features,).

    Raises:
        ValueError: the layers do not fit.
    """

    def __init__(
        self,
        shape: Sequence[int],
        listed: Sequence[Layer],
        noise: float = 0.0,
        init: str = "torch",
        bias: bool = True,
        unit: bool = False,
    ) -> None:
        super().__init__()
        self.noise, self.init = noise, init
        dims = len(spatial_sides(shape))
        parts, features = build_layers(
            "encoder", listed, tuple(shape), dims, noise=noise, bias=bias
        )
        self.shape = flattened_shape(features)
        self.scale = ToUnit() if unit else nn.Identity()
        self.layers = nn.Sequential(*parts)
        init_weights_(self, init)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (B, *shape) to features (B, features)."""
        return self.layers(self.scale(image)).flatten(1)


class ListedGenerator(nn.Module):
    """Creates a generator from a list of layers: code -> image.

    Args:
        latents: length of the code, that is z and s together.
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        listed: the layers, see `nets.layers`; the last makes the image, or a vector of all its numbers.
        output: last activation, see `nets.scale`.
        init: `dcgan` or `torch`, see `nets.init`.
        bias: False takes every bias away.

    Raises:
        ValueError: the layers do not fit.
    """

    def __init__(
        self,
        latents: int,
        shape: Sequence[int],
        listed: Sequence[Layer],
        output: str = "tanh",
        init: str = "torch",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        parts, _ = build_layers(
            "decoder", listed, (latents,), len(spatial_sides(shape)), self.shape, bias=bias
        )
        self.layers = nn.Sequential(*parts)
        self.output = nn.Sequential(*output_layers(output))
        init_weights_(self, init)

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes (B, latents) to images (B, *shape) in [-1, 1], or beyond for a linear output."""
        return self.output(self.layers(code).reshape(len(code), *self.shape))
