"""The sections of a config that belong to no method or data set, and what every section is: typed, strict, frozen."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer, model_validator

__all__ = ["Flag", "NetsConfig", "PaperConfig", "PaperReading", "Published", "Section", "TrainConfig"]

WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class Section(BaseModel):
    """A part of the config: unknown fields are errors, types are not guessed, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# The YAML reader leaves `no` and `off` as words (so that `mixed_precision: no` says what it means); here they are flags.
Flag = Annotated[bool, BeforeValidator(lambda v: WORDS.get(v.lower(), v) if isinstance(v, str) else v)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Pairing = Annotated[tuple[Beta, Beta], Field(strict=False)]


class NetsConfig(Section):
    """The networks' section."""

    width: int = Field(default=64, ge=1)  # channels of the stage next to the image; Table 4 of Carton et al. (2024)


class TrainConfig(Section):
    """The training's section. Everything is counted in real images, both halves together."""

    images: int = Field(default=25_000_000, ge=1)  # 500 epochs of 50,000 images: Carton et al. (2024), Sec. 5
    batch: int = Field(default=128, ge=4)  # caption of Table 4; both halves together
    lr: float = Field(default=2e-4, gt=0, allow_inf_nan=False)  # Table 6, CIFAR-MNIST and CelebA
    betas: Pairing = (0.5, 0.999)  # the authors' code
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    workers: int = Field(default=0, ge=0)  # processes that read images; 0 reads them in the training process
    ema: int = Field(default=10_000, ge=0)  # half-life of the averaged weights in images; 0 switches the average off
    log_every: int = Field(default=2_000, ge=1)
    grid_every: int = Field(default=50_000, ge=0)  # 0: only at the end
    probe_every: int = Field(default=0, ge=0)  # 0: only at the end
    save_every: int = Field(default=100_000, ge=0)  # 0: only at the end
    keep: int = Field(default=3, ge=1)  # newest checkpoints to keep


class Sparse(Section):
    """A section that is written without the fields that nobody gave."""

    @model_serializer(mode="wrap")
    def _given(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value not in (None, {})}


class Published(Sparse):
    """A published number, as it came out over the paper's trainings; a bare number is the average.

    Attributes:
        average: over the trainings.
        sd: standard deviation over the trainings.
        best: training; the highest or the lowest number, whichever is better.
        worst: training.
    """

    average: float | None = Field(default=None, allow_inf_nan=False)
    sd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    best: float | None = Field(default=None, allow_inf_nan=False)
    worst: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: object) -> object:
        if isinstance(given, int | float) and not isinstance(given, bool):
            return {"average": given}
        if not isinstance(given, dict | Published):
            raise ValueError(f"found {given!r}, expected a number or a mapping with average, best or worst")
        return given

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.average is None and self.best is None and self.worst is None:
            raise ValueError("found no number, expected average, best or worst")
        return self


class PaperReading(Sparse):
    """What a paper reads of an attribute from each code."""

    salient: Published | None = None
    common: Published | None = None
    whole: Published | None = None


class PaperConfig(Sparse):
    """What a paper reports for this experiment, on our scale (shares, not per cent). Nothing of it is learnt from.

    Attributes:
        source: table or figure.
        protocol: of `studio probe`, by which the paper measured.
        eval: regime of `studio probe`, in which the paper measured.
        images: real images seen in the paper's trainings, both halves together.
        attributes: attribute of the data set -> what is read of it.
        numbers: any other key of `studio compare`, e.g. `disentangle.factorvae_as_published`.
    """

    source: str
    protocol: Literal["held-out", "carton", "louiset"] | None = None
    eval: Literal["clean", "authors"] | None = None
    images: int | None = Field(default=None, ge=1)
    attributes: dict[str, PaperReading] = Field(default={})
    numbers: dict[str, Published] = Field(default={})
