"""The two nets that every method is made of, as the config's `nets` section describes them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from nets.dimensions import spatial_sides
from nets.generator import Generator
from nets.headed_trunk import HeadedTrunk
from nets.layers import flattened_shape, trace_shapes
from nets.listed import ListedGenerator, ListedTrunk
from nets.stages import attention_stage, plan_stages
from nets.trunk import Trunk

__all__ = ["Nets", "build_decoder", "build_encoder", "check_nets"]

Nets: TypeAlias = Any  # the config's section; its fields are those of `studio.schema.NetsConfig`


def build_encoder(
    shape: Sequence[int],
    heads: Mapping[str, int],
    nets: Nets,
    noise: float = 0.0,
    head_noise: float | None = None,
    without_bottleneck: Collection[str] = (),
    unnormalised: Collection[str] = (),
) -> HeadedTrunk:
    """Makes what reads images: Double InfoGAN's trunk, or the config's list of layers, with named heads.

    Without a list all methods read with the same net, so that they differ in their objective only.

    Args:
        shape: of the images: (C, H, W), (C, D, H, W) or (F,).
        heads: name -> number of outputs.
        nets: the config's section. Where `output` is not tanh, listed layers read images on the papers' [0, 1] scale.
        noise: standard deviation of the noise before every layer while training; 0 for a VAE's encoder.
        head_noise: the same before the heads' layers; `noise` when None.
        without_bottleneck: heads of one layer, where spectral normalisation gives the others two; see `nets.headed_trunk`.
        unnormalised: heads whose last layer is not spectrally normalised.

    Returns:
        a net that maps images (B, *shape) to head -> (B, outputs).

    Raises:
        ValueError: the shape cannot be built, or the layers do not fit.
    """
    if nets.encoder is None:
        trunk = Trunk(shape, nets.width, noise, _init(nets, "dcgan"), nets.norm)
        bias = bool(nets.head) and not nets.zero_bias
        return HeadedTrunk(
            trunk, heads, head_noise, nets.head, bias, without_bottleneck, unnormalised
        )
    bias = not nets.zero_bias
    listed = ListedTrunk(
        shape, nets.encoder, noise, _init(nets, "torch"), bias, unit=nets.output != "tanh"
    )
    return HeadedTrunk(listed, heads, head_noise, nets.head, bias)


def build_decoder(latents: int, shape: Sequence[int], nets: Nets) -> Generator | ListedGenerator:
    """Makes what makes images: Double InfoGAN's generator, or the config's list of layers.

    Args:
        latents: length of the code, that is z and s together.
        shape: of the images: (C, H, W), (C, D, H, W) or (F,).
        nets: the config's section.

    Returns:
        a net that maps codes (B, latents) to images (B, *shape).

    Raises:
        ValueError: the shape cannot be built, or the layers do not fit.
    """
    if nets.decoder is None:
        return Generator(
            latents,
            shape,
            nets.width,
            nets.output,
            _init(nets, "dcgan"),
            nets.upsample,
            nets.attention,
        )
    return ListedGenerator(
        latents, shape, nets.decoder, nets.output, _init(nets, "torch"), not nets.zero_bias
    )


def check_nets(shape: Sequence[int], nets: Nets, latents: int) -> None:
    """Checks, without making anything, that encoder and decoder can be built.

    Args:
        shape: of the images.
        nets: the config's section.
        latents: length of the code.

    Raises:
        ValueError: they cannot; all reasons, one a line.
    """
    faults, dims = [], len(spatial_sides(shape))
    if nets.encoder is None or nets.decoder is None:
        faults += _fault(_staged, shape, nets)
    if nets.encoder is not None:
        faults += _fault(trace_shapes, "encoder", nets.encoder, tuple(shape), dims)
    faults += _fault(trace_shapes, "head", nets.head, flattened_shape(shape), 0)
    if nets.decoder is not None:
        faults += _fault(trace_shapes, "decoder", nets.decoder, (latents,), dims, tuple(shape))
    if faults:
        raise ValueError("\n".join(faults))


def _staged(shape: Sequence[int], nets: Nets) -> None:
    attention_stage(shape, plan_stages(shape, nets.width), nets.upsample, nets.attention)


def _init(nets: Nets, own: str) -> str:
    """What `init: auto` means: N(0, 0.02^2) for Double InfoGAN's nets, PyTorch's own for listed layers."""
    return own if nets.init == "auto" else nets.init


def _fault(check: Any, *arguments: Any) -> list[str]:  # noqa: ANN401
    try:
        check(*arguments)
    except ValueError as error:
        return [str(error)]
    return []
