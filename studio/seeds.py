"""Seeds that depend on what they are for and on nothing else."""

import hashlib

import torch

__all__ = ["seed_everything", "seed_of"]


def seed_of(*parts: object) -> int:
    """Returns a 63-bit seed that depends on every part, not on the process, the platform or Python's hash seed."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def seed_everything(*parts: object) -> None:
    """Seeds torch on every device from `seed_of(*parts)`.

    The engine calls it with (seed, rank, iteration) after each fetch, as edm2 does, so that no random state has to be
    saved: iteration t draws the same numbers in a resumed run as in an undisturbed one.
    """
    torch.manual_seed(seed_of(*parts))
