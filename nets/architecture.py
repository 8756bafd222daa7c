"""Builds the encoder and the decoder that the config's `nets` section describes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

from nets.dimensions import spatial_sides
from nets.generator import Generator
from nets.headed_trunk import HeadedTrunk
from nets.layers import LayerSpec, flattened_shape, trace_shapes
from nets.listed import ListedGenerator, ListedTrunk
from nets.stages import find_attention_stage, plan_stages
from nets.trunk import Trunk

__all__ = ["NetsSpec", "build_decoder", "build_encoder", "check_nets"]


class NetsSpec(Protocol):
    """The fields of a `nets` section. `studio.schema.NetsConfig` documents and validates them."""

    width: int
    norm: Literal["batch", "spectral", "channel"]
    upsample: Literal["transposed", "nearest"]
    attention: int
    output: Literal["tanh", "sigmoid", "linear"]
    init: Literal["auto", "dcgan", "torch"]
    zero_bias: bool

    @property
    def encoder(self) -> Sequence[LayerSpec] | None: ...
    @property
    def head(self) -> Sequence[LayerSpec]: ...
    @property
    def decoder(self) -> Sequence[LayerSpec] | None: ...


def build_encoder(
    shape: Sequence[int],
    heads: Mapping[str, int],
    nets: NetsSpec,
    noise: float = 0.0,
    head_noise: float | None = None,
    without_bottleneck: Collection[str] = (),
    unnormalised: Collection[str] = (),
) -> HeadedTrunk:
    """Builds a network that maps images to named vectors.

    The trunk is that of Double InfoGAN unless the config lists layers for it. Methods with the same
    config therefore use the same trunk and differ only in their objectives.

    Args:
        shape: of the images: (C, H, W), (C, D, H, W) or (F,).
        heads: name -> number of outputs.
        nets: the config's section. If its `output` is not tanh, listed layers receive images on the
            scale [0, 1].
        noise: standard deviation of the noise before every layer during training. VAEs use 0.
        head_noise: the same before the layers of the heads. `noise` when None.
        without_bottleneck: heads that have a single layer even on a spectrally normalised trunk
            (see `nets.headed_trunk`).
        unnormalised: heads with a last layer that is not spectrally normalised.

    Returns:
        A network that maps images (B, *shape) to head -> (B, outputs).

    Raises:
        ValueError: no network can be built for the shape, or the listed layers do not fit.
    """
    if nets.encoder is None:
        trunk = Trunk(shape, nets.width, noise, _resolve_init(nets, "dcgan"), nets.norm)
        bias = bool(nets.head) and not nets.zero_bias
        return HeadedTrunk(
            trunk, heads, head_noise, nets.head, bias, without_bottleneck, unnormalised
        )
    bias, unit = not nets.zero_bias, nets.output != "tanh"
    init = _resolve_init(nets, "torch")
    trunk = ListedTrunk(shape, nets.encoder, noise, init, bias, unit)
    return HeadedTrunk(trunk, heads, head_noise, nets.head, bias)


def build_decoder(
    latents: int, shape: Sequence[int], nets: NetsSpec
) -> Generator | ListedGenerator:
    """Builds a network that maps codes to images.

    It is the generator of Double InfoGAN unless the config lists layers for it.

    Args:
        latents: length of z and s together.
        shape: of the images: (C, H, W), (C, D, H, W) or (F,).
        nets: the config's section.

    Returns:
        A network that maps codes (B, latents) to images (B, *shape).

    Raises:
        ValueError: no network can be built for the shape, or the listed layers do not fit.
    """
    if nets.decoder is None:
        init = _resolve_init(nets, "dcgan")
        return Generator(
            latents,
            shape,
            nets.width,
            nets.output,
            init,
            nets.upsample,
            nets.attention,
            "channel" if nets.norm == "channel" else "batch",
        )
    init = _resolve_init(nets, "torch")
    return ListedGenerator(latents, shape, nets.decoder, nets.output, init, not nets.zero_bias)


def check_nets(shape: Sequence[int], nets: NetsSpec, latents: int) -> None:
    """Checks that encoder and decoder can be built, without building them.

    Args:
        shape: of the images.
        nets: the config's section.
        latents: length of z and s together.

    Raises:
        ValueError: they cannot be built. The message lists all reasons, one per line.
    """
    faults, dims = [], len(spatial_sides(shape))
    if nets.encoder is None or nets.decoder is None:
        faults += _faults(_check_stages, shape, nets)
    if nets.encoder is not None:
        faults += _faults(trace_shapes, "encoder", nets.encoder, tuple(shape), dims)
    faults += _faults(trace_shapes, "head", nets.head, flattened_shape(shape), 0)
    if nets.decoder is not None:
        faults += _faults(trace_shapes, "decoder", nets.decoder, (latents,), dims, tuple(shape))
    if faults:
        raise ValueError("\n".join(faults))


def _check_stages(shape: Sequence[int], nets: NetsSpec) -> None:
    find_attention_stage(shape, plan_stages(shape, nets.width), nets.upsample, nets.attention)


def _resolve_init(nets: NetsSpec, default: str) -> str:
    """Returns the initialisation, with `auto` replaced by the default of the architecture."""
    return default if nets.init == "auto" else nets.init


def _faults(check: Callable[..., object], *arguments: object) -> list[str]:
    """Returns the message of the ValueError that a check raises, if it raises one."""
    try:
        check(*arguments)
    except ValueError as error:
        return [str(error)]
    return []
