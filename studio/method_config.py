"""The section `method` of a config, as far as all methods share it. It needs no torch."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from studio.errors import nearest
from studio.limits import Most
from studio.schema import Section

__all__ = ["MethodConfig"]


class MethodConfig(Section):
    """The fields that the `method` section of a config has for every method."""

    # The weight of every term. Subclasses list the values of their paper.
    default_weights: ClassVar[Mapping[str, float]] = {}
    # Values of the `train` section that the papers of this method use instead of the studio's
    # defaults.
    train_defaults: ClassVar[Mapping[str, Any]] = {}

    name: str
    """Name of the method."""
    z: int = Field(ge=1, le=Most.CHANNELS)
    """Length of the common code.

    Unit: coordinates.
    """
    s: int = Field(ge=1, le=Most.CHANNELS)
    """Length of the salient code.

    Unit: coordinates.
    """
    weights: dict[str, float] = Field(default={}, validate_default=True)
    """Weights of the loss terms by name. A weight that is not given keeps the value of the paper. 0
    removes the term.

    Unit: none.
    """

    @field_validator("weights", mode="after")
    @classmethod
    def _check_weights(cls, given: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in given if name not in cls.default_weights]
        if unknown:
            raise ValueError(
                "; ".join(
                    f"no term is called {name!r}{nearest(name, cls.default_weights)}"
                    for name in unknown
                )
            )
        invalid = [name for name, value in given.items() if not 0 <= value <= Most.WEIGHT]
        if invalid:
            found = ", ".join(f"{name}={given[name]}" for name in invalid)
            raise ValueError(f"found {found}, expected weights from 0 to {Most.WEIGHT:g}")
        return {**cls.default_weights, **given}
