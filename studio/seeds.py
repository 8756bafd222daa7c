"""Seeds that depend only on the purpose of the random numbers."""

import hashlib

import torch

__all__ = ["seed_everything", "seed_of"]


def seed_of(*parts: object) -> int:
    """Returns a 63-bit seed from the parts: the same in every process and on every platform."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def seed_everything(*parts: object) -> None:
    """Seeds torch on every device with `seed_of(*parts)`.

    The engine calls it with (seed, rank, iteration) after it has fetched a batch, as edm2 does.
    Iteration t therefore draws the same numbers in a resumed run as in an uninterrupted one, and no
    random state needs to be saved.
    """
    torch.manual_seed(seed_of(*parts))
