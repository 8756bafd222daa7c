"""The sections of a config that belong to no method or data set, and what every section is: typed, strict, frozen."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Flag", "NetsConfig", "Section", "TrainConfig"]

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
    reset_optimizers: int = Field(default=0, ge=0)  # images after which the optimisers start anew; 0: never
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    workers: int = Field(default=0, ge=0)  # processes that read images; 0 reads them in the training process
    ema: int = Field(default=10_000, ge=0)  # half-life of the averaged weights in images; 0 switches the average off
    log_every: int = Field(default=2_000, ge=1)
    grid_every: int = Field(default=50_000, ge=0)  # 0: only at the end
    probe_every: int = Field(default=0, ge=0)  # 0: only at the end
    save_every: int = Field(default=100_000, ge=0)  # 0: only at the end
    keep: int = Field(default=3, ge=1)  # newest checkpoints to keep
