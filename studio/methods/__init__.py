"""One paper, one file. `METHODS` maps the names that configs use to the classes."""

from typing import Any

from studio.methods.double_infogan import DoubleInfoGAN

__all__ = ["ALIASES", "METHODS"]

# Classes derived from Method, each built from (its Config, NetsConfig, shape).
METHODS: dict[str, Any] = {"dig": DoubleInfoGAN}
ALIASES = {"double_infogan": "dig"}
