"""Trunk and generator from lists of layers, for architectures other than Double InfoGAN's."""

from collections.abc import Sequence

from torch import Tensor, nn

from nets.dimensions import spatial_sides
from nets.init import init_weights_
from nets.layers import LayerSpec, build_layers, flattened_shape
from nets.recompute import Blocks
from nets.scale import ToUnit, output_layers

__all__ = ["ListedGenerator", "ListedTrunk"]


class ListedTrunk(nn.Module):
    """A trunk from a list of layers, which maps an image to a vector of features.

    Args:
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        specs: the layers (see `nets.layers`). With an empty list the features are the image's own
            numbers.
        noise: standard deviation of the noise before every convolution and linear layer.
        init: `dcgan` or `torch` (see `nets.init`).
        bias: False removes every bias.
        unit: whether the layers receive images on the scale [0, 1], as in most papers. Black is
            then 0, and so is zero padding.

    Attributes:
        shape: of the features, without the batch: (features,).

    Raises:
        ValueError: the layers do not fit.
    """

    def __init__(
        self,
        shape: Sequence[int],
        specs: Sequence[LayerSpec],
        noise: float = 0.0,
        init: str = "torch",
        bias: bool = True,
        unit: bool = False,
    ) -> None:
        super().__init__()
        self.noise, self.init = noise, init
        dims = len(spatial_sides(shape))
        parts, features = build_layers("encoder", specs, tuple(shape), dims, noise=noise, bias=bias)
        self.shape = flattened_shape(features)
        self.scale = ToUnit() if unit else nn.Identity()
        self.layers = Blocks(*parts)
        init_weights_(self, init)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (B, *shape) to features (B, features)."""
        return self.layers(self.scale(image)).flatten(1)


class ListedGenerator(nn.Module):
    """A generator from a list of layers, which maps a code to an image.

    Args:
        latents: length of z and s together.
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        specs: the layers (see `nets.layers`). The last returns the image, or a vector of all its
            numbers.
        output: last activation (see `nets.scale`).
        init: `dcgan` or `torch` (see `nets.init`).
        bias: False removes every bias.

    Raises:
        ValueError: the layers do not fit.
    """

    def __init__(
        self,
        latents: int,
        shape: Sequence[int],
        specs: Sequence[LayerSpec],
        output: str = "tanh",
        init: str = "torch",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        dims = len(spatial_sides(shape))
        parts, _ = build_layers("decoder", specs, (latents,), dims, self.shape, bias=bias)
        self.layers = Blocks(*parts)
        self.output = nn.Sequential(*output_layers(output))
        init_weights_(self, init)

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes to images.

        Args:
            code: z and s together, (B, latents).

        Returns:
            (B, *shape) in [-1, 1]. A linear output may exceed these limits.
        """
        return self.output(self.layers(code).reshape(code.shape[0], *self.shape))
