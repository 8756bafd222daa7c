"""The two image sets of contrastive analysis."""

from typing import Literal

__all__ = ["DOMAINS", "Domain"]

Domain = Literal["background", "target"]
DOMAINS: tuple[Domain, ...] = ("background", "target")
