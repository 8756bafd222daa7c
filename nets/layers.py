"""Layer lists: the vocabulary in which a config writes down a paper's own architecture.

A layer is exactly one of

    conv: CHANNELS      convolution, or with `deconv: CHANNELS` transposed convolution: needs `kernel`, may have `stride` (1),
                        `padding` (0) and for deconv `output_padding` (0); 2-D for images, 3-D for volumes, not for vectors
    linear: FEATURES    fully connected, on a vector
    flatten: true       map -> vector (C * H * W,)
    unflatten: [C, H, W]  vector -> map (four numbers for volumes)
    pool: average       map -> vector (C,) of the channels' means
    up: 2               nearest-neighbour upsampling by a whole factor

and conv, deconv and linear may have `bias` (true), `norm: none|batch|instance|channel` (see `nets.dimensions.norm`),
`act: none|relu|leaky|tanh|sigmoid` with the leaky one's `slope` (0.2), and `norm_after_act: true` where a paper
normalises behind the activation. In a decoder's last layer `conv`, `deconv` and `linear` may say `image` instead of a
number: the image's channels, or all its numbers. What a layer reads is inferred. Louiset et al. (2024) at 64 px:

    nets:
      encoder:
        - {conv: 32, kernel: 4, stride: 2, padding: 1, act: relu}
        - {conv: 64, kernel: 4, stride: 2, padding: 1, act: relu}
        - {conv: 256, kernel: 16, act: relu}
      head:
        - {linear: 32, act: relu}                                 # before each output: mean and log-variance of z and s
      decoder:
        - {linear: 256, act: relu}
        - {unflatten: [256, 1, 1]}
        - {deconv: 64, kernel: 16, act: relu}
        - {deconv: 32, kernel: 4, stride: 2, padding: 1, act: relu}
        - {deconv: image, kernel: 4, stride: 2, padding: 1}
      output: sigmoid                                             # on the papers' [0, 1] scale
"""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

from torch import Tensor, nn

from nets.dimensions import LAYER_TYPES, norm_layer, spatial_sides
from nets.noise import GaussianNoise

__all__ = [
    "LAYERS",
    "GlobalAveragePool",
    "Layer",
    "build_layers",
    "flattened_shape",
    "layer_kind",
    "trace_shapes",
]

LAYERS = ("conv", "deconv", "linear", "flatten", "unflatten", "pool", "up")
Layer: TypeAlias = Any  # anything with the attributes above; the studio's is `studio.schema.Layer`
Shape = tuple[int, ...]


class GlobalAveragePool(nn.Module):
    """GlobalAveragePools each channel of a map over its pixels; deterministic on accelerators, as torch's adaptive pooling is not."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, ...) to (B, C)."""
        return x.flatten(2).mean(2)


def layer_kind(layer: Layer) -> str:
    """Returns which of `LAYERS` a layer is."""
    return next(kind for kind in LAYERS if getattr(layer, kind) not in (None, False))


def flattened_shape(shape: Sequence[int]) -> Shape:
    """Returns the shape of the flattened map."""
    return (prod(shape),)


def trace_shapes(
    name: str, listed: Sequence[Layer], shape: Shape, dims: int, image: Shape | None = None
) -> list[Shape]:
    """Follows a shape through a list of layers without making any.

    Args:
        name: of the list, for messages.
        listed: the layers.
        shape: of what the first layer reads, without the batch.
        dims: spatial dimensions of the data: 2, 3 or 0 for vectors.
        image: shape of the image that the list must make; None where it makes none.

    Returns:
        the shape before each layer, and at the end what comes out.

    Raises:
        ValueError: a layer does not fit what it reads, or the last one the image; with its number, counted from 0.
    """
    shapes = [shape]
    for number, layer in enumerate(listed):
        last = image is not None and number == len(listed) - 1
        try:
            shapes.append(_after(layer, shapes[-1], dims, image if last else None))
        except ValueError as error:
            raise ValueError(f"{_called(name, number, layer)}: {error}") from None
    made = shapes[-1]
    if image is not None and made not in (image, flattened_shape(image)):
        where = _called(name, len(listed) - 1, listed[-1]) if listed else name
        raise ValueError(f"{where}: gives {_text(made)}, expected the image's {_text(image)}")
    return shapes


def build_layers(
    name: str,
    listed: Sequence[Layer],
    shape: Shape,
    dims: int = 0,
    image: Shape | None = None,
    noise: float = 0.0,
    bias: bool = True,
) -> tuple[list[nn.Module], Shape]:
    """Makes the modules of a list; arguments and errors as in `trace`.

    Args:
        name: of the list, for messages.
        listed: the layers.
        shape: of what the first layer reads, without the batch.
        dims: spatial dimensions of the data.
        image: shape of the image that the list must make.
        noise: standard deviation of the noise before every convolution and linear layer.
        bias: False takes every bias away.

    Returns:
        one module per layer, and the shape of what comes out.
    """
    shapes = trace_shapes(name, listed, shape, dims, image)
    pairs = zip(listed, shapes, shapes[1:], strict=False)
    return [_made(layer, before, after, noise, bias) for layer, before, after in pairs], shapes[-1]


def _text(shape: Shape) -> str:
    return f"a vector of {shape[0]}" if len(shape) == 1 else str(shape)


def _called(name: str, number: int, layer: Layer) -> str:
    kind = layer_kind(layer)
    value = getattr(layer, kind)
    return f"{name}.{number} ({kind}{'' if value is True else f' {list(value) if isinstance(value, tuple) else value}'})"


def _after(layer: Layer, shape: Shape, dims: int, image: Shape | None) -> Shape:
    """Returns the shape that a layer makes of another."""
    kind = layer_kind(layer)
    if kind == "flatten":
        return flattened_shape(shape)
    if kind in ("linear", "unflatten"):
        if len(shape) > 1:
            raise ValueError(f"reads a vector, found {shape}; flatten it first")
        return (
            (_size(layer, kind, image),)
            if kind == "linear"
            else _unflattened(tuple(layer.unflatten), shape, dims)
        )
    if not dims:
        raise ValueError(
            f"reads an image or a volume, and the data are vectors; found {_text(shape)}"
        )
    if len(shape) == 1:
        raise ValueError(f"reads a map, found {_text(shape)}; unflatten it first")
    if kind == "pool":
        return shape[:1]
    if kind == "up":
        return (shape[0], *(side * layer.up for side in shape[1:]))
    after = (
        _size(layer, kind, image),
        *(_convolved(layer, kind, side, shape) for side in shape[1:]),
    )
    if layer.norm == "instance":
        norm_layer(layer.norm, after)  # refuses single pixels
    return after


def _size(layer: Layer, kind: str, image: Shape | None) -> int:
    size = getattr(layer, kind)
    if size != "image":
        return size
    if image is None:
        raise ValueError("only a decoder's last layer can make the image")
    return prod(image) if kind == "linear" else image[0]


def _unflattened(made: Shape, shape: Shape, dims: int) -> Shape:
    if len(made) != dims + 1:
        expected = (
            f"{dims + 1} numbers (channels and {dims} sides)"
            if dims
            else "none: the data are vectors"
        )
        raise ValueError(f"has {len(made)} numbers, expected {expected}")
    if prod(made) != shape[0]:
        raise ValueError(f"makes {made}, that is {prod(made)} numbers, of {_text(shape)}")
    return made


def _convolved(layer: Layer, kind: str, side: int, shape: Shape) -> int:
    if kind == "deconv":
        made = (side - 1) * layer.stride - 2 * layer.padding + layer.kernel + layer.output_padding
        if made < 1:
            raise ValueError(
                f"kernel {layer.kernel} with padding {layer.padding} leaves nothing of {shape}"
            )
        return made
    if side + 2 * layer.padding < layer.kernel:
        raise ValueError(
            f"kernel {layer.kernel} with padding {layer.padding} is larger than the map, {shape}"
        )
    return (side + 2 * layer.padding - layer.kernel) // layer.stride + 1


def _made(layer: Layer, before: Shape, after: Shape, noise: float, bias: bool) -> nn.Module:
    kind = layer_kind(layer)
    if kind == "flatten":
        return nn.Flatten()
    if kind == "unflatten":
        return nn.Unflatten(1, after)
    if kind == "pool":
        return GlobalAveragePool()
    if kind == "up":
        return nn.Upsample(scale_factor=layer.up, mode="nearest")
    parts: list[tuple[str, nn.Module]] = [("noise", GaussianNoise(noise))] if noise else []
    parts.append((kind, _weights(layer, kind, before, after, bias and layer.bias)))
    ends = [] if layer.norm == "none" else [("norm", norm_layer(layer.norm, after))]
    if layer.act != "none":
        ends.insert(len(ends) * (not layer.norm_after_act), ("act", _activation(layer)))
    return nn.Sequential(OrderedDict(parts + ends))


def _weights(layer: Layer, kind: str, before: Shape, after: Shape, bias: bool) -> nn.Module:
    if kind == "linear":
        return nn.Linear(before[0], after[0], bias)
    kinds, options = (
        LAYER_TYPES[len(spatial_sides(before))],
        {"stride": layer.stride, "padding": layer.padding, "bias": bias},
    )
    if kind == "deconv":
        return kinds.deconv(
            before[0], after[0], layer.kernel, output_padding=layer.output_padding, **options
        )
    return kinds.conv(before[0], after[0], layer.kernel, **options)


def _activation(layer: Layer) -> nn.Module:
    if layer.act == "relu":
        return nn.ReLU(inplace=True)
    if layer.act == "leaky":
        return nn.LeakyReLU(0.2 if layer.slope is None else layer.slope, inplace=True)
    return {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[layer.act]()
