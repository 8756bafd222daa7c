"""The `paper` section of a config: published results, for comparison with our own."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, model_serializer, model_validator

from studio.limits import Most
from studio.section import Section

__all__ = ["PaperConfig", "PaperReading", "Published"]


class Sparse(Section):
    """A section that is written without the fields that were not given."""

    @model_serializer(mode="wrap")
    def _serialise_given(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value not in (None, {})}


class Published(Sparse):
    """A number that a paper reports over several trainings. A bare number is their average."""

    average: float | None = Field(default=None, allow_inf_nan=False)
    """Average over the trainings.

    Unit: of the reported metric; shares, not per cent.
    """
    sd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Standard deviation over the trainings.

    Unit: of the reported metric.
    """
    best: float | None = Field(default=None, allow_inf_nan=False)
    """The best training: the highest or the lowest number, whichever is better.

    Unit: of the reported metric.
    """
    worst: float | None = Field(default=None, allow_inf_nan=False)
    """The worst training.

    Unit: of the reported metric.
    """

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_number(cls, given: object) -> object:
        if isinstance(given, int | float) and not isinstance(given, bool):
            return {"average": given}
        if not isinstance(given, dict | Published):
            raise ValueError(
                f"found {given!r}, expected a number or a mapping with average, best or worst"
            )
        return given

    @model_validator(mode="after")
    def _check_any_given(self) -> Self:
        if self.average is None and self.best is None and self.worst is None:
            raise ValueError("found no number, expected average, best or worst")
        return self


class PaperReading(Sparse):
    """The scores of one attribute that a paper reports for each code."""

    salient: Published | None = None
    """Score of a probe on the salient code."""
    common: Published | None = None
    """Score of a probe on the common code."""
    whole: Published | None = None
    """Score of a probe on both codes together."""


class PaperConfig(Sparse):
    """The `paper` section: results of a paper for this experiment, which training ignores."""

    source: str
    """Table or figure that the numbers come from."""
    protocol: Literal["held-out", "carton", "louiset"] | None = None
    """Protocol of `studio probe` that corresponds to the paper's measurement."""
    eval: Literal["clean", "authors"] | None = None
    """Eval mode of `studio probe` that corresponds to the paper's measurement."""
    images: int | None = Field(default=None, ge=1, le=Most.IMAGES)
    """Budget of the paper's trainings.

    Unit: real images, both domains together.
    """
    attributes: dict[str, PaperReading] = Field(default={})
    """Scores by attribute of the data set, as shares and not per cent."""
    numbers: dict[str, Published] = Field(default={})
    """Other numbers by their key in `studio compare`, for example
    `disentangle.factorvae_as_published`."""
