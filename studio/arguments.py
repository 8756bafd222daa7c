"""Checks of the arguments of the Python API: one clear error instead of one from inside of a net.

Every function names the argument, the value that was found and the one that is expected.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex, cast

import torch
from torch import Tensor

from studio.domains import DOMAINS
from studio.errors import StudioError, nearest

__all__ = [
    "check_code",
    "check_domain",
    "check_image_values",
    "check_images",
    "check_seed",
    "check_tensor",
    "check_whole_number",
]

MOST_SEED = 2**64 - 1  # of torch
TOLERANCE = 1e-3  # by which values may leave [-1, 1], as those of images that were resized


def check_domain(domain: object) -> None:
    """Refuses a word that is not a domain."""
    if not isinstance(domain, str) or domain not in DOMAINS:
        expected = " or ".join(map(repr, DOMAINS))
        hint = nearest(domain, DOMAINS) if isinstance(domain, str) else ""
        hint = "" if hint.startswith("; valid") else hint
        raise StudioError(f"domain: found {domain!r}, expected {expected}{hint}")


def check_whole_number(name: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Refuses a value that is not a whole number in a range."""
    try:
        number = operator.index(cast("SupportsIndex", value))
    except TypeError:  # also of an array with several numbers
        number = None
    if (
        number is None
        or isinstance(value, bool | Tensor)
        or number < least
        or (most is not None and number > most)
    ):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise StudioError(f"{name}: found {value!r}, expected a whole number {limits}")


def check_seed(seed: object) -> None:
    """Refuses a value that is not a seed of torch."""
    check_whole_number("seed", seed, 0, MOST_SEED)


def check_tensor(name: str, value: object) -> None:
    """Refuses a value that is not a tensor of floating-point numbers."""
    if not isinstance(value, Tensor):
        kind = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
        remedy = f": torch.from_numpy({name}) makes one" if kind == "numpy.ndarray" else ""
        raise StudioError(f"{name}: found {kind}, expected a torch.Tensor{remedy}")
    if not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        remedy = (
            f": {name} / 127.5 - 1 maps 0 to 255 to -1 to 1" if value.dtype == torch.uint8 else ""
        )
        raise StudioError(f"{name}: found {kind}, expected floating-point numbers{remedy}")


def check_images(name: str, images: object, shape: Sequence[int]) -> None:
    """Refuses a value that is not a batch of at least one image of a shape."""
    check_tensor(name, images)
    assert isinstance(images, Tensor)
    found, wanted = tuple(images.shape), tuple(shape)
    if found[1:] != wanted:
        channels_last = (*wanted[1:], wanted[0])
        back = ", ".join(map(str, (0, len(wanted), *range(1, len(wanted)))))
        remedies = {
            wanted: f": {name}[None] is a batch of one image",
            (*found[:1], *channels_last): f": {name}.permute({back}) puts the channels first",
        }
        expected = f"(B, {', '.join(map(str, wanted))})"
        raise StudioError(
            f"{name}: found the shape {found}, expected {expected}{remedies.get(found, '')}"
        )
    if not len(images):
        raise StudioError(f"{name}: found no images, expected at least one")
    check_image_values(name, images)


def check_image_values(name: str, images: Tensor) -> None:
    """Refuses images with values that are not finite or not in [-1, 1]."""
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise StudioError(f"{name}: {broken} of {len(images)} images hold NaN or infinity")
    low, high = (float(end) for end in images.aminmax())
    if low < -1 - TOLERANCE or high > 1 + TOLERANCE:
        remedy = ""
        if low >= 0:
            scale = "127.5" if high > 1.5 else "0.5"
            remedy = f": {name} / {scale} - 1 maps 0 to {255 if high > 1.5 else 1} to -1 to 1"
        raise StudioError(
            f"{name}: found values from {low:g} to {high:g}, expected -1 to 1{remedy}"
        )


def check_code(code: object, z: int, s: int) -> tuple[Tensor, Tensor]:
    """Returns the parts of a pair of codes, (B, z) and (B, s), and refuses anything else."""
    if not isinstance(code, tuple | list) or len(code) != 2:
        raise StudioError(f"code: found {_describe(code)}, expected Code(z, s)")
    for name, part, length in (("z", code[0], z), ("s", code[1], s)):
        check_tensor(f"code.{name}", part)
        if part.ndim != 2 or part.shape[1] != length:
            remedy = f": code.{name}[None] is a batch of one" if part.shape == (length,) else ""
            raise StudioError(
                f"code.{name}: found the shape {tuple(part.shape)}, expected (B, {length}){remedy}"
            )
        if not bool(part.isfinite().all()):
            raise StudioError(f"code.{name}: holds NaN or infinity")
    if len(code[0]) != len(code[1]):
        raise StudioError(
            f"code: found {len(code[0])} common and {len(code[1])} salient codes, expected as many "
            "of both"
        )
    if not len(code[0]):
        raise StudioError("code: found no codes, expected at least one")
    return code[0], code[1]


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"{len(value)} parts"
    return type(value).__name__
