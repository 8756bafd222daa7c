"""Layers that depend on the number of spatial dimensions. All other modules are independent of it.

A shape is (C, H, W) for images, (C, D, H, W) for volumes and (F,) for vectors. Feature maps have
shapes of the same kinds. Vectors have no spatial dimensions, so their networks have linear layers
instead of convolutions.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import nn

from nets.upsampling import UpsampledConv2d, UpsampledConv3d

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
    "upsampled_conv",
]


class LayerTypes(NamedTuple):
    """The classes of layers for one number of spatial dimensions.

    Attributes:
        conv: convolution, linear for vectors.
        deconv: transposed convolution, linear for vectors.
        batch: batch normalisation.
        instance: instance normalisation, None for vectors.
    """

    conv: type[nn.Module]
    deconv: type[nn.Module]
    batch: type[nn.Module]
    instance: type[nn.Module] | None


LAYER_TYPES = {
    0: LayerTypes(nn.Linear, nn.Linear, nn.BatchNorm1d, None),
    2: LayerTypes(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d),
    3: LayerTypes(nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.InstanceNorm3d),
}
# Side of a map from which folding is faster. Measured for images, at batch 16 on one thread: at
# side 4, with 1024 channels, adding up the weights costs more than it saves. Volumes: not timed.
FOLDED_FROM = 8
MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def spatial_sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the spatial sides of a shape: (H, W), (D, H, W), or () for a vector.

    Raises:
        ValueError: the shape is not that of an image, a volume or a vector.
    """
    if len(shape) - 1 not in LAYER_TYPES or min(shape) < 1:
        raise ValueError(
            f"found shape {tuple(shape)}, expected (C, H, W), (C, D, H, W) or (F,), all at least 1"
        )
    return tuple(shape[1:])


def memory_format(shape: Sequence[int]) -> torch.memory_format:
    """Returns the memory format in which networks and batches of a shape are fastest.

    It is channels-last for images and volumes. On the CPU a step of Double InfoGAN then takes 10 %
    less time for images and 5 to 15 % less for volumes (16^3 and 32^3, one thread). Convolutions of
    images are also faster on accelerators. Volumes were not timed there.
    """
    return MEMORY_FORMATS.get(len(spatial_sides(shape)), torch.contiguous_format)


def strided_conv(dims: int, inputs: int, outputs: int, bias: bool = False) -> nn.Module:
    """Builds a layer of the trunk: a 4x4 convolution that halves the sides. Linear for vectors."""
    if dims == 0:
        return nn.Linear(inputs, outputs, bias=bias)
    return LAYER_TYPES[dims].conv(inputs, outputs, 4, stride=2, padding=1, bias=bias)


def transposed_conv(dims: int, inputs: int, outputs: int) -> nn.Module:
    """Builds a layer of the generator: a 4x4 transposed convolution that doubles the sides.

    It has no bias. It is linear for vectors.
    """
    if dims == 0:
        return nn.Linear(inputs, outputs, bias=False)
    return LAYER_TYPES[dims].deconv(inputs, outputs, 4, stride=2, padding=1, bias=False)


def same_conv(dims: int, inputs: int, outputs: int, bias: bool = False) -> nn.Module:
    """Builds a 3x3 convolution that keeps the sides. Not for vectors."""
    return LAYER_TYPES[dims].conv(inputs, outputs, 3, padding=1, bias=bias)


def upsampled_conv(dims: int, inputs: int, outputs: int, side: int) -> list[nn.Module]:
    """Builds nearest-neighbour upsampling by 2 and a 3x3 convolution without bias, two modules.

    From side 8 on the convolution does both (see `nets.upsampling`), and nothing comes before it,
    so that its weights have the same name at each side. Not for vectors.

    Args:
        dims: number of spatial dimensions.
        inputs: channels of the small map.
        outputs: channels of the large map.
        side: of the small map.
    """
    if side < FOLDED_FROM:
        upsample = nn.Upsample(scale_factor=2, mode="nearest")
        return [upsample, same_conv(dims, inputs, outputs)]
    folded = UpsampledConv2d if dims == 2 else UpsampledConv3d
    return [nn.Identity(), folded(inputs, outputs, 3, padding=1, bias=False)]


def code_to_map(dims: int, latents: int, channels: int, base: int) -> nn.Module:
    """Builds the first layer of the generator, from a code to a map of side `base`.

    It is a transposed convolution of a map of side 1, without bias, and linear for vectors.
    """
    if dims == 0:
        return nn.Linear(latents, channels, bias=False)
    return LAYER_TYPES[dims].deconv(latents, channels, base, bias=False)


def map_to_vector(shape: Sequence[int], outputs: int, bias: bool = False) -> nn.Module:
    """Builds a head: a convolution with a kernel as large as the map. Linear for vectors.

    Args:
        shape: of the feature map, without the batch.
        outputs: number of outputs.
        bias: whether the layer has a bias.
    """
    sides = spatial_sides(shape)
    if not sides:
        return nn.Linear(shape[0], outputs, bias=bias)
    return LAYER_TYPES[len(sides)].conv(shape[0], outputs, sides, bias=bias)


def norm_layer(kind: str, shape: Sequence[int]) -> nn.Module:
    """Builds a normalisation with a gain and a shift for each channel.

    Args:
        kind: `batch`, `instance` or `channel`. Instance normalisation treats each channel of each
            image separately and needs maps of more than one pixel. Channel normalisation treats all
            channels of an image together (group normalisation with one group), which is our
            interpretation of the "channel normalization" of Choudhuri et al. (2020), App. A.3.
        shape: of the input, without the batch.

    Raises:
        ValueError: instance normalisation of a vector or of a single pixel, which have no variance.
    """
    types = LAYER_TYPES[len(spatial_sides(shape))]
    if kind == "channel":
        return nn.GroupNorm(1, shape[0])
    if kind == "batch":
        return types.batch(shape[0])
    if types.instance is None or prod(shape[1:]) == 1:
        raise ValueError(
            f"instance normalisation needs more than one pixel per channel, found {tuple(shape)}"
        )
    return types.instance(shape[0], affine=True)
