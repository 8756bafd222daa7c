"""One paper, one file. `METHODS` maps the names that configs use to the classes."""

from studio.method import Method
from studio.methods.double_infogan import DoubleInfoGAN

__all__ = ["ALIASES", "METHODS"]

METHODS: dict[str, type[Method]] = {"dig": DoubleInfoGAN}
ALIASES = {"double_infogan": "dig"}
