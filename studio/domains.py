"""The two sets of images that contrastive analysis compares."""

from typing import Literal

__all__ = ["DOMAINS", "Domain"]

Domain = Literal["background", "target"]
DOMAINS: tuple[Domain, ...] = ("background", "target")
