"""Architectures as lists of layers.

The config fields `nets.encoder`, `nets.head` and `nets.decoder` are such lists.

A layer is exactly one of

    conv: CHANNELS        convolution with `kernel`, optional `stride` (1) and `padding` (0),
                          2-D for images, 3-D for volumes, not for vectors
    deconv: CHANNELS      transposed convolution, as `conv`, with optional `output_padding` (0)
    linear: FEATURES      fully connected layer, on a vector
    flatten: true         map -> vector (C * H * W,)
    unflatten: [C, H, W]  vector -> map (four numbers for volumes)
    pool: average         map -> vector (C,) of the means of the channels
    up: 2                 nearest-neighbour upsampling by an integer factor

`conv`, `deconv` and `linear` may also have `bias` (true), `norm: none|batch|instance|channel` (see
`nets.dimensions.norm_layer`) and `act: none|relu|leaky|tanh|sigmoid`. The slope of `leaky` is
`slope` (0.2). `norm_after_act: true` puts the normalisation after the activation. The last layer of
a decoder may state `image` instead of a number, which stands for the channels of the image, or for
all its numbers if the layer is linear. The sizes of inputs are inferred.

Louiset et al. (2024) at 64 px:

    nets:
      encoder:
        - {conv: 32, kernel: 4, stride: 2, padding: 1, act: relu}
        - {conv: 64, kernel: 4, stride: 2, padding: 1, act: relu}
        - {conv: 256, kernel: 16, act: relu}
      head:
        - {linear: 32, act: relu}    # before each output: mean and log-variance of z and of s
      decoder:
        - {linear: 256, act: relu}
        - {unflatten: [256, 1, 1]}
        - {deconv: 64, kernel: 16, act: relu}
        - {deconv: 32, kernel: 4, stride: 2, padding: 1, act: relu}
        - {deconv: image, kernel: 4, stride: 2, padding: 1}
      output: sigmoid                # on the scale [0, 1]
"""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import Literal, Protocol

from torch import Tensor, nn

from nets.dimensions import LAYER_TYPES, norm_layer, spatial_sides
from nets.noise import GaussianNoise

__all__ = [
    "GlobalAveragePool",
    "LayerSpec",
    "build_layers",
    "flattened_shape",
    "trace_shapes",
]

Shape = tuple[int, ...]


class LayerSpec(Protocol):
    """One layer of a list. `studio.schema.Layer` documents and validates its fields."""

    conv: int | Literal["image"] | None
    deconv: int | Literal["image"] | None
    linear: int | Literal["image"] | None
    flatten: bool
    unflatten: tuple[int, ...] | None
    pool: Literal["average"] | None
    up: int | None
    kernel: int | None
    stride: int
    padding: int
    output_padding: int
    bias: bool
    norm: Literal["none", "batch", "instance", "channel"]
    norm_after_act: bool
    act: Literal["none", "relu", "leaky", "tanh", "sigmoid"]
    slope: float | None

    @property
    def kind(self) -> str:
        """Name of the one field from `conv` to `up` that the layer states."""
        ...


class GlobalAveragePool(nn.Module):
    """Averages each channel of a map over its pixels.

    Unlike PyTorch's adaptive pooling, it is deterministic on accelerators.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, ...) to (B, C)."""
        return x.flatten(2).mean(2)


def flattened_shape(shape: Sequence[int]) -> Shape:
    """Returns the shape of a flattened map."""
    return (prod(shape),)


def trace_shapes(
    name: str, specs: Sequence[LayerSpec], shape: Shape, dims: int, image: Shape | None = None
) -> list[Shape]:
    """Infers the shapes between the layers of a list, without building them.

    Args:
        name: of the list, for messages.
        specs: the layers.
        shape: of the input of the first layer, without the batch.
        dims: spatial dimensions of the data: 2, 3 or 0 for vectors.
        image: shape of the image that the list must generate. None for an encoder or a head.

    Returns:
        The shape before each layer, and that of the output.

    Raises:
        ValueError: a layer does not fit its input, or the last layer does not fit the image. The
            message names the layer by its number, counted from 0.
    """
    shapes = [shape]
    for number, spec in enumerate(specs):
        last = image is not None and number == len(specs) - 1
        try:
            shapes.append(_shape_after(spec, shapes[-1], dims, image if last else None))
        except ValueError as error:
            raise ValueError(f"{_layer_name(name, number, spec)}: {error}") from None
    output = shapes[-1]
    if image is not None and output not in (image, flattened_shape(image)):
        where = _layer_name(name, len(specs) - 1, specs[-1]) if specs else name
        raise ValueError(
            f"{where}: output is {_describe(output)}, expected the image's {_describe(image)}"
        )
    return shapes


def build_layers(
    name: str,
    specs: Sequence[LayerSpec],
    shape: Shape,
    dims: int = 0,
    image: Shape | None = None,
    noise: float = 0.0,
    bias: bool = True,
) -> tuple[list[nn.Module], Shape]:
    """Builds the modules of a list.

    Args:
        name: of the list, for messages.
        specs: the layers.
        shape: of the input of the first layer, without the batch.
        dims: spatial dimensions of the data: 2, 3 or 0 for vectors.
        image: shape of the image that the list must generate. None for an encoder or a head.
        noise: standard deviation of the noise before every convolution and linear layer.
        bias: False removes every bias.

    Returns:
        One module per layer, and the shape of the output.

    Raises:
        ValueError: as in `trace_shapes`.
    """
    shapes = trace_shapes(name, specs, shape, dims, image)
    steps = zip(specs, shapes, shapes[1:], strict=False)
    return [
        _build_layer(spec, before, after, noise, bias) for spec, before, after in steps
    ], shapes[-1]


def _describe(shape: Shape) -> str:
    return f"a vector of {shape[0]}" if len(shape) == 1 else str(shape)


def _layer_name(name: str, number: int, layer: LayerSpec) -> str:
    """Returns the name of a layer for messages, e.g. "encoder.3 (conv 8)"."""
    value = getattr(layer, layer.kind)
    size = "" if value is True else f" {list(value) if isinstance(value, tuple) else value}"
    return f"{name}.{number} ({layer.kind}{size})"


def _shape_after(layer: LayerSpec, shape: Shape, dims: int, image: Shape | None) -> Shape:
    """Returns the shape of a layer's output."""
    kind = layer.kind
    if kind == "flatten":
        return flattened_shape(shape)
    if kind in ("linear", "unflatten"):
        if len(shape) > 1:
            raise ValueError(f"needs a vector, found {shape}; flatten it first")
        if kind == "linear":
            return (_output_size(layer, kind, image),)
        assert layer.unflatten is not None
        return _unflattened_shape(tuple(layer.unflatten), shape, dims)
    if not dims:
        raise ValueError("needs images or volumes, found vector data")
    if len(shape) == 1:
        raise ValueError(f"needs a map, found {_describe(shape)}; unflatten it first")
    if kind == "pool":
        return shape[:1]
    if kind == "up":
        assert layer.up is not None
        return (shape[0], *(side * layer.up for side in shape[1:]))
    sides = (_convolved_side(layer, kind, side, shape) for side in shape[1:])
    after = (_output_size(layer, kind, image), *sides)
    if layer.norm == "instance":
        norm_layer(layer.norm, after)  # raises ValueError for a single pixel
    return after


def _output_size(layer: LayerSpec, kind: str, image: Shape | None) -> int:
    """Returns the number of output channels or features, with `image` replaced by its size."""
    size = getattr(layer, kind)
    if size != "image":
        return size
    if image is None:
        raise ValueError("found image, which only the last layer of a decoder may state")
    return prod(image) if kind == "linear" else image[0]


def _unflattened_shape(target: Shape, shape: Shape, dims: int) -> Shape:
    if not dims:
        raise ValueError(f"found {len(target)} numbers, but vector data have no maps")
    if len(target) != dims + 1:
        raise ValueError(
            f"found {len(target)} numbers, expected {dims + 1} (channels and {dims} sides)"
        )
    if prod(target) != shape[0]:
        raise ValueError(
            f"{target} has {prod(target)} numbers, but the input is {_describe(shape)}"
        )
    return target


def _convolved_side(layer: LayerSpec, kind: str, side: int, shape: Shape) -> int:
    """Returns a side of the output map of a convolution or transposed convolution."""
    assert layer.kernel is not None
    if kind == "deconv":
        after = (side - 1) * layer.stride - 2 * layer.padding + layer.kernel + layer.output_padding
        if after < 1:
            raise ValueError(
                f"kernel {layer.kernel} with padding {layer.padding} leaves nothing of {shape}"
            )
        return after
    if side + 2 * layer.padding < layer.kernel:
        raise ValueError(
            f"kernel {layer.kernel} with padding {layer.padding} is larger than the map, {shape}"
        )
    return (side + 2 * layer.padding - layer.kernel) // layer.stride + 1


def _build_layer(
    layer: LayerSpec, before: Shape, after: Shape, noise: float, bias: bool
) -> nn.Module:
    kind = layer.kind
    if kind == "flatten":
        return nn.Flatten()
    if kind == "unflatten":
        return nn.Unflatten(1, after)
    if kind == "pool":
        return GlobalAveragePool()
    if kind == "up":
        return nn.Upsample(scale_factor=layer.up, mode="nearest")
    parts: list[tuple[str, nn.Module]] = [("noise", GaussianNoise(noise))] if noise else []
    parts.append((kind, _weight_layer(layer, kind, before, after, bias and layer.bias)))
    ends = [] if layer.norm == "none" else [("norm", norm_layer(layer.norm, after))]
    if layer.act != "none":
        ends.insert(len(ends) * (not layer.norm_after_act), ("act", _activation(layer)))
    return nn.Sequential(OrderedDict(parts + ends))


def _weight_layer(
    layer: LayerSpec, kind: str, before: Shape, after: Shape, bias: bool
) -> nn.Module:
    if kind == "linear":
        return nn.Linear(before[0], after[0], bias)
    types = LAYER_TYPES[len(spatial_sides(before))]
    options = {"stride": layer.stride, "padding": layer.padding, "bias": bias}
    if kind == "deconv":
        return types.deconv(
            before[0], after[0], layer.kernel, output_padding=layer.output_padding, **options
        )
    return types.conv(before[0], after[0], layer.kernel, **options)


def _activation(layer: LayerSpec) -> nn.Module:
    if layer.act == "relu":
        return nn.ReLU(inplace=True)
    if layer.act == "leaky":
        return nn.LeakyReLU(0.2 if layer.slope is None else layer.slope, inplace=True)
    return {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[layer.act]()
