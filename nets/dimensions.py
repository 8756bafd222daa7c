"""The layers that differ between images, volumes and vectors: everything else in `nets` is written once.

A shape is (C, H, W) for images, (C, D, H, W) for volumes and (F,) for vectors; feature maps have shapes of the same
kind. A vector has no neighbourhoods, so what is a convolution elsewhere is a linear layer there.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import nn

__all__ = [
    "LAYER_TYPES",
    "LayerTypes",
    "code_to_map",
    "map_to_vector",
    "memory_format",
    "norm_layer",
    "same_conv",
    "spatial_sides",
    "strided_conv",
    "transposed_conv",
]


class LayerTypes(NamedTuple):
    """The classes of layers for a number of spatial dimensions."""

    conv: type[nn.Module]
    deconv: type[nn.Module]
    batch: type[nn.Module]
    instance: type[nn.Module] | None


LAYER_TYPES = {
    0: LayerTypes(nn.Linear, nn.Linear, nn.BatchNorm1d, None),
    2: LayerTypes(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d),
    3: LayerTypes(nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.InstanceNorm3d),
}
MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def spatial_sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the spatial sides of a shape: (H, W), (D, H, W) or () for a vector.

    Raises:
        ValueError: it is the shape of neither an image, a volume nor a vector.
    """
    if len(shape) - 1 not in LAYER_TYPES or min(shape) < 1:
        raise ValueError(
            f"found shape {tuple(shape)}, expected (C, H, W), (C, D, H, W) or (F,), all at least 1"
        )
    return tuple(shape[1:])


def memory_format(shape: Sequence[int]) -> torch.memory_format:
    """Returns the memory format in which nets for a shape, and its batches, are fastest.

    Channels-last: on the CPU a whole step of Double InfoGAN takes a tenth less time, of volumes 5 to 15 % less (16^3 and
    32^3, one thread); convolutions of images are faster in it on accelerators, too. Volumes were not timed there.
    """
    return MEMORY_FORMATS.get(len(spatial_sides(shape)), torch.contiguous_format)


def strided_conv(dims: int, before: int, after: int, bias: bool = False) -> nn.Module:
    """Makes the trunk's layer: a 4x4(x4) convolution of stride 2, linear for vectors."""
    if dims == 0:
        return nn.Linear(before, after, bias=bias)
    return LAYER_TYPES[dims].conv(before, after, 4, stride=2, padding=1, bias=bias)


def transposed_conv(dims: int, before: int, after: int) -> nn.Module:
    """Makes the generator's layer: a 4x4(x4) transposed convolution of stride 2, linear for vectors, without bias."""
    if dims == 0:
        return nn.Linear(before, after, bias=False)
    return LAYER_TYPES[dims].deconv(before, after, 4, stride=2, padding=1, bias=False)


def same_conv(dims: int, before: int, after: int, bias: bool = False) -> nn.Module:
    """Makes a layer that leaves the sides as they are: a 3x3(x3) convolution of a map."""
    return LAYER_TYPES[dims].conv(before, after, 3, padding=1, bias=bias)


def code_to_map(dims: int, latents: int, channels: int, base: int) -> nn.Module:
    """Makes the generator's first layer: a code, as a map of side 1, to a map of side `base`, without bias."""
    if dims == 0:
        return nn.Linear(latents, channels, bias=False)
    return LAYER_TYPES[dims].deconv(latents, channels, base, bias=False)


def map_to_vector(shape: Sequence[int], outputs: int, bias: bool = False) -> nn.Module:
    """Makes a head: a valid convolution that covers the whole feature map, linear for vectors."""
    square = spatial_sides(shape)
    if not square:
        return nn.Linear(shape[0], outputs, bias=bias)
    return LAYER_TYPES[len(square)].conv(shape[0], outputs, square, bias=bias)


def norm_layer(kind: str, shape: Sequence[int]) -> nn.Module:
    """Makes a normalisation of a feature map or vector, with a gain and a shift for each channel.

    Args:
        kind: `batch`; `instance`, of each channel of each image by itself, for maps of more than one pixel; or
            `channel`, of all channels of each image together (group normalisation with one group), which is how we
            read the "channel normalization" of Choudhuri et al., App. A.3.
        shape: of what is normalised, without the batch.

    Raises:
        ValueError: instance normalisation of a vector or of a single pixel, whose variance is none.
    """
    kinds = LAYER_TYPES[len(spatial_sides(shape))]
    if kind == "channel":
        return nn.GroupNorm(1, shape[0])
    if kind == "batch":
        return kinds.batch(shape[0])
    if kinds.instance is None or prod(shape[1:]) == 1:
        raise ValueError(
            f"instance normalisation needs more than one pixel per channel, found {tuple(shape)}"
        )
    return kinds.instance(shape[0], affine=True)
