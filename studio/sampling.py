"""What a person does with a trained method: encode, decode, reconstruct, swap, heal, isolate, sample, traverse...

Pure functions over a Method in eval mode. Inputs may be on any device and of any length: they go through the nets
`BATCH` at a time, without gradients. Images and codes come back as float32 on the CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from studio.errors import StudioError
from studio.method import Code, Domain, Method

__all__ = [
    "blank",
    "decode",
    "encode",
    "heal",
    "interpolate",
    "isolate",
    "prior",
    "reconstruct",
    "sample",
    "swap",
    "traverse",
]

BATCH = 256  # images at a time; it is their activations that memory would run out of


def encode(method: Method, images: Tensor) -> Code:
    """Reads the codes of images (B, C, H, W) in [-1, 1].

    Raises:
        StudioError: the method is in training mode.
    """
    codes = _batched(method, method.encode, images)
    return Code(*(torch.cat(part) for part in zip(*codes, strict=True)))


def decode(method: Method, code: Code) -> Tensor:
    """Makes images (B, C, H, W) in [-1, 1] of codes.

    Raises:
        StudioError: the method is in training mode, or z and s differ in number.
    """
    if len(code.z) != len(code.s):
        raise StudioError(
            f"each common code needs a salient one, found {len(code.z)} common and {len(code.s)} salient"
        )
    images = _batched(method, lambda z, s: (method.decode(Code(z, s)),), *code)
    return torch.cat([part for (part,) in images])


def blank(method: Method, n: int) -> Tensor:
    """Returns n salient codes (n, m) that mean "nothing salient"."""
    return method.blank(n).detach().float().cpu()


def prior(method: Method, n: int, domain: Domain, seed: int) -> Code:
    """Draws n codes of a domain from the prior; the global random state stays as it is."""
    with _seeded(seed, method.device), torch.no_grad():
        return Code(*(part.float().cpu() for part in method.prior(n, domain)))


def sample(method: Method, n: int, domain: Domain, seed: int) -> Tensor:
    """Makes n new images of a domain: decode(prior)."""
    return decode(method, prior(method, n, domain, seed))


def reconstruct(method: Method, images: Tensor, domain: Domain = "target") -> Tensor:
    """Encodes and decodes images; background images with their salient code blanked, where that is so in training."""
    code = encode(method, images)
    blanked = domain == "background" and method.contrastive
    return decode(method, Code(code.z, blank(method, len(images))) if blanked else code)


def swap(method: Method, a: Tensor, b: Tensor) -> Tensor:
    """Gives images a the salient content of images b: decode(z of a, s of b)."""
    return decode(method, Code(encode(method, a).z, encode(method, b).s))


def heal(method: Method, images: Tensor) -> Tensor:
    """Removes the salient content of images: decode(z, blank)."""
    return decode(method, Code(encode(method, images).z, blank(method, len(images))))


def isolate(method: Method, images: Tensor) -> Tensor:
    """Keeps the salient content of images alone: decode(0, s).

    Abid and Zou (2019), Fig. 6b, who call it denoising; "Towards principled objectives for contrastive
    disentanglement" (2020), Fig. 5, last row.
    """
    code = encode(method, images)
    return decode(method, Code(torch.zeros_like(code.z), code.s))


def traverse(
    method: Method,
    image: Tensor,
    coordinate: int,
    values: Sequence[float],
    space: Literal["s", "z"] = "s",
) -> Tensor:
    """Sets one coordinate of an image's code to each value in turn and leaves the others as they were read.

    Carton et al. (2024), Fig. 9: from -1.5 to 1.5.

    Args:
        method: in eval mode.
        image: one image (C, H, W).
        coordinate: of the code, from 0.
        values: that it takes.
        space: the code to change.

    Returns:
        one image per value, (len(values), C, H, W).

    Raises:
        StudioError: the code has no such coordinate.
    """
    code = encode(method, image[None])
    parts = {name: part.repeat(len(values), 1) for name, part in code._asdict().items()}
    length = parts[space].shape[1]
    if not 0 <= coordinate < length:
        raise StudioError(f"{space} has coordinates 0 to {length - 1}, found {coordinate}")
    parts[space][:, coordinate] = torch.tensor(values, dtype=torch.float32)
    return decode(method, Code(**parts))


def interpolate(method: Method, z: Tensor, s1: Tensor, s2: Tensor, steps: int) -> Tensor:
    """Moves from one salient code to another on a straight line while the common code stays.

    "Towards principled objectives for contrastive disentanglement" (2020), Fig. 8.

    Args:
        method: in eval mode.
        z: one common code (n,).
        s1: the salient code (m,) of the first image.
        s2: the salient code (m,) of the last image.
        steps: number of images, both ends included; at least 2.

    Returns:
        (steps, C, H, W).
    """
    if steps < 2:
        raise StudioError(f"an interpolation has at least 2 steps, its ends; found {steps}")
    share = torch.linspace(0, 1, steps, device=s1.device)[:, None]
    return decode(method, Code(z.expand(steps, -1), torch.lerp(s1, s2, share)))


@torch.no_grad()
def _batched(
    method: Method, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
) -> list[tuple[Tensor, ...]]:
    """Returns what a function makes of each slice of its inputs."""
    if method.training:
        raise StudioError(f"{method.config.name} is in training mode; call method.eval() first")
    slices = zip(*(tensor.split(BATCH) for tensor in inputs), strict=True)
    return [
        tuple(
            output.float().cpu()
            for output in function(*(part.to(method.device, torch.float32) for part in parts))
        )
        for parts in slices
    ]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """What is drawn inside depends on the seed alone; the random state is as before afterwards."""
    cuda = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        # Not torch.manual_seed: it would seed every accelerator, of which only this one is put back.
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield
