"""Operations on images and codes with a trained method: encode, decode, swap, heal, sample, ...

All are pure functions of a Method in eval mode. Inputs may be on any device and of any number. They
pass through the nets in batches of `BATCH`, without gradients. Images and codes are returned as
float32 on the CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from studio.arguments import check_domain, check_seed, check_tensor, check_whole_number
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
    "salient_map",
    "sample",
    "swap",
    "traverse",
]

# Images per forward pass. Activations, not images, limit the number, because they need most memory.
BATCH = 256


def encode(method: Method, images: Tensor) -> Code:
    """Returns the codes of images (B, C, H, W) in [-1, 1].

    Raises:
        StudioError: the method is in training mode, or the images are not a tensor of
            floating-point numbers.
    """
    _check_batch("images", images)
    codes = _map_batches(method, method.encode, images)
    return Code(*(torch.cat(batches) for batches in zip(*codes, strict=True)))


def decode(method: Method, code: Code) -> Tensor:
    """Generates images (B, C, H, W) in [-1, 1] from B codes.

    Raises:
        StudioError: the method is in training mode, or the numbers of common and salient codes
            differ.
    """
    for name, part in zip("zs", code, strict=True):
        _check_batch(f"code.{name}", part)
    if len(code.z) != len(code.s):
        raise StudioError(
            f"found {len(code.z)} common and {len(code.s)} salient codes, expected as many of both"
        )
    images = _map_batches(method, lambda z, s: (method.decode(Code(z, s)),), *code)
    return torch.cat([batch for (batch,) in images])


def blank(method: Method, n: int) -> Tensor:
    """Returns n copies of the blank salient code, which means "nothing salient", (n, m)."""
    check_whole_number("n", n, 0)
    return method.blank(n).detach().float().cpu()


def prior(method: Method, n: int, domain: Domain, seed: int) -> Code:
    """Draws n codes of a domain from the prior, without changing the global random state.

    Raises:
        StudioError: n, the domain or the seed is not one.
    """
    check_whole_number("n", n)
    check_domain(domain)
    check_seed(seed)
    with _use_seed(int(seed), method.device), torch.no_grad():
        z, s = method.prior(int(n), domain)
        return Code(z.float().cpu(), s.float().cpu())


def sample(method: Method, n: int, domain: Domain, seed: int) -> Tensor:
    """Generates n images of a domain, (n, C, H, W): decode(prior)."""
    return decode(method, prior(method, n, domain, seed))


def reconstruct(method: Method, images: Tensor, domain: Domain = "target") -> Tensor:
    """Encodes and decodes images as in training: decode(encode).

    A contrastive method decodes background images with the blank salient code.

    Args:
        method: in eval mode.
        images: (B, C, H, W) in [-1, 1].
        domain: of the images.

    Returns:
        (B, C, H, W).
    """
    check_domain(domain)
    code = encode(method, images)
    if domain == "background" and method.contrastive:
        code = Code(code.z, blank(method, len(images)))
    return decode(method, code)


def swap(method: Method, a: Tensor, b: Tensor) -> Tensor:
    """Replaces the salient content of images a by that of images b: decode(z of a, s of b)."""
    return decode(method, Code(encode(method, a).z, encode(method, b).s))


def heal(method: Method, images: Tensor) -> Tensor:
    """Synthesises the pseudo-healthy counterparts of images: decode(z, blank)."""
    return decode(method, Code(encode(method, images).z, blank(method, len(images))))


def salient_map(reconstruction: Tensor, healed: Tensor) -> Tensor:
    """Returns where an image differs from its pseudo-healthy counterpart.

    Args:
        reconstruction: reconstructed images, (B, C, H, W).
        healed: their pseudo-healthy counterparts, of the same shape.

    Returns:
        the largest absolute difference over the channels, (B, H, W).

    Raises:
        StudioError: the shapes differ.
    """
    if reconstruction.shape != healed.shape:
        raise StudioError(
            f"healed: found the shape {tuple(healed.shape)}, expected that of the reconstruction, "
            f"{tuple(reconstruction.shape)}"
        )
    return (reconstruction - healed).abs().amax(1)


def isolate(method: Method, images: Tensor) -> Tensor:
    """Keeps only the salient content of images: decode(0, s).

    Abid and Zou (2019) call this denoising (Fig. 6b). See also Choudhuri et al. (2020), Fig. 5,
    last row.
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
    """Decodes an image's code with one coordinate set to each value in turn.

    Carton et al. (2024), Fig. 9, traverse from -1.5 to 1.5.

    Args:
        method: in eval mode.
        image: one image, (C, H, W).
        coordinate: index of the coordinate, from 0.
        values: values of the coordinate.
        space: the code that contains the coordinate.

    Returns:
        one image per value, (len(values), C, H, W).

    Raises:
        StudioError: the code has no such coordinate, or a value is not finite.
    """
    check_tensor("image", image)
    if space not in ("s", "z"):
        raise StudioError(f"space: found {space!r}, expected 's' or 'z'")
    chosen = torch.as_tensor(values, dtype=torch.float32)
    if chosen.ndim != 1 or not len(chosen) or not chosen.isfinite().all():
        raise StudioError("values: expected at least one finite number")
    read = encode(method, image[None])
    code = Code(read.z.repeat(len(values), 1), read.s.repeat(len(values), 1))
    changed = code.s if space == "s" else code.z
    length = changed.shape[1]
    whole = isinstance(coordinate, int) or hasattr(coordinate, "__index__")
    if not whole or not 0 <= coordinate < length:
        raise StudioError(f"{space} has coordinates 0 to {length - 1}, found {coordinate}")
    changed[:, coordinate] = chosen
    return decode(method, code)


def interpolate(method: Method, z: Tensor, s1: Tensor, s2: Tensor, steps: int) -> Tensor:
    """Decodes salient codes on the straight line from one to another, with a fixed common code.

    Choudhuri et al. (2020), Fig. 8.

    Args:
        method: in eval mode.
        z: the common code, (n,).
        s1: the salient code of the first image, (m,).
        s2: the salient code of the last image, (m,).
        steps: number of images including both ends, at least 2.

    Returns:
        (steps, C, H, W).

    Raises:
        StudioError: there are fewer than 2 steps.
    """
    for name, part in (("z", z), ("s1", s1), ("s2", s2)):
        check_tensor(name, part)
        if part.ndim != 1:
            raise StudioError(
                f"{name}: found the shape {tuple(part.shape)}, expected one code, "
                f"({part.shape[-1] if part.ndim else 'n'},)"
            )
    if s1.shape != s2.shape:
        raise StudioError(f"s2: found {len(s2)} coordinates, s1 has {len(s1)}")
    check_whole_number("steps", steps, 0)
    if steps < 2:
        raise StudioError(
            f"found {steps} steps, expected at least 2 steps, because both ends count"
        )
    share = torch.linspace(0, 1, steps, device=s1.device)[:, None]
    return decode(method, Code(z.expand(steps, -1), torch.lerp(s1, s2, share)))


def _check_batch(name: str, rows: Tensor) -> None:
    """Refuses rows that are no tensor of floating-point numbers, or none at all."""
    check_tensor(name, rows)
    if not rows.ndim or not len(rows):
        raise StudioError(f"{name}: found no rows, expected at least one")


@torch.no_grad()
def _map_batches(
    method: Method, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
) -> list[tuple[Tensor, ...]]:
    """Applies a function to the inputs in batches, and returns its outputs for each batch."""
    if method.training:
        raise StudioError(f"{method.config.name} is in training mode; call method.eval() first")
    batches = zip(*(tensor.split(BATCH) for tensor in inputs), strict=True)
    return [
        tuple(
            output.float().cpu()
            for output in function(*(rows.to(method.device, torch.float32) for rows in batch))
        )
        for batch in batches
    ]


@contextmanager
def _use_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the random numbers drawn inside, and restores the random state afterwards."""
    cuda = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        # torch.manual_seed would seed every accelerator, but only this one is restored.
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield
