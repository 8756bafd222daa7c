"""The sections of a config that belong to no method or data set, and what every section is: typed, strict, frozen."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

__all__ = [
    "Flag",
    "Layer",
    "NetsConfig",
    "PaperConfig",
    "PaperReading",
    "Published",
    "Section",
    "TrainConfig",
]

WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class Section(BaseModel):
    """A part of the config: unknown fields are errors, types are not guessed, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# The YAML reader leaves `no` and `off` as words (so that `mixed_precision: no` says what it means); here they are flags.
Flag = Annotated[
    bool, BeforeValidator(lambda v: WORDS.get(v.lower(), v) if isinstance(v, str) else v)
]
Beta = Annotated[float, Field(ge=0, lt=1)]
Pairing = Annotated[tuple[Beta, Beta], Field(strict=False)]


def _size(value: object) -> object:
    if value == "image" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"found {value!r}, expected a number of at least 1, or image")


Count = Annotated[int, Field(ge=1)]
Size = Annotated[int | Literal["image"], BeforeValidator(_size)]

LAYERS = (
    "conv",
    "deconv",
    "linear",
    "flatten",
    "unflatten",
    "pool",
    "up",
)  # as in `nets.layers`, which would import torch
WEIGHTED = frozenset({"bias", "norm", "norm_after_act", "act", "slope"})
CONVOLVED = WEIGHTED | {"kernel", "stride", "padding"}
OPTIONS = {"conv": CONVOLVED, "deconv": CONVOLVED | {"output_padding"}, "linear": WEIGHTED}


class Layer(Section):
    """One layer of a list; `nets.layers` documents the vocabulary."""

    conv: Size | None = None
    deconv: Size | None = None
    linear: Size | None = None
    flatten: Flag = False
    unflatten: (
        Annotated[tuple[Count, ...], Field(strict=False, min_length=3, max_length=4)] | None
    ) = None
    pool: Literal["average"] | None = None
    up: Annotated[int, Field(ge=2)] | None = None
    kernel: Count | None = None
    stride: Count = 1
    padding: int = Field(default=0, ge=0)
    output_padding: int = Field(default=0, ge=0)
    bias: Flag = True
    norm: Literal["none", "batch", "instance", "channel"] = "none"
    norm_after_act: Flag = False
    act: Literal["none", "relu", "leaky", "tanh", "sigmoid"] = "none"
    slope: float | None = Field(default=None, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_layer(self) -> Self:
        kinds = [kind for kind in LAYERS if getattr(self, kind) not in (None, False)]
        if len(kinds) != 1:
            raise ValueError(
                f"found {' and '.join(kinds) or 'none'}, expected exactly one of {', '.join(LAYERS)}"
            )
        kind = kinds[0]
        foreign = sorted(self._stated() - {kind} - OPTIONS.get(kind, frozenset()))
        if foreign:
            raise ValueError(f"{kind} has no {', '.join(foreign)}")
        if kind in ("conv", "deconv") and self.kernel is None:
            raise ValueError(f"{kind} needs a kernel, e.g. kernel: 4")
        if self.output_padding >= self.stride and self.output_padding:
            raise ValueError(
                f"output_padding must be below the stride, found {self.output_padding} and {self.stride}"
            )
        if self.slope is not None and self.act != "leaky":
            raise ValueError(f"slope is that of act: leaky, found act: {self.act}")
        if self.norm_after_act and "none" in (self.norm, self.act):
            raise ValueError("norm_after_act needs a norm and an act")
        if kind == "linear" and self.norm == "instance":
            raise ValueError(
                "norm: instance needs a map, linear makes a vector; expected batch or channel"
            )
        return self

    def _stated(self) -> set[str]:
        return {
            name
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        }

    @model_serializer(mode="wrap")
    def _brief(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what is not stated, so that a resolved config shows lists as they were written."""
        return {name: value for name, value in whole(self).items() if name in self._stated()}


class NetsConfig(Section):
    """The networks' section. `preset` fills it from a file in `configs/nets`; see `studio.config`."""

    width: int = Field(
        default=64, ge=1
    )  # channels of the stage next to the image; Table 4 of Carton et al. (2024)
    norm: Literal["batch", "spectral"] = (
        "batch"  # of the trunk: Table 4, or Table 5 (and its heads)
    )
    upsample: Literal["transposed", "nearest"] = (
        "transposed"  # in the generator: Table 4, or Table 5
    )
    attention: int = Field(
        default=0, ge=0
    )  # side of the generator's map that attends to itself, 32 in Table 5; 0: none
    encoder: list[Layer] | None = None  # none: Double InfoGAN's trunk, whatever the method
    head: list[Layer] = Field(default=[])  # before each output; linear only
    decoder: list[Layer] | None = None  # none: Double InfoGAN's generator
    output: Literal["tanh", "sigmoid", "linear"] = (
        "tanh"  # the last two on the papers' [0, 1] scale, see `nets.scale`
    )
    init: Literal["auto", "dcgan", "torch"] = (
        "auto"  # dcgan for Double InfoGAN's nets, torch for listed layers
    )
    zero_bias: Flag = False  # Abid & Zou (2019), Sec. 3: a code of zeros is black, exactly
    preset: None = Field(
        default=None, exclude=True
    )  # `studio.config` has merged it before the section gets here

    @model_validator(mode="after")
    def _lists_make_sense(self) -> Self:
        faults = [
            f"head.{i}: expected linear"
            for i, layer in enumerate(self.head)
            if layer.linear is None
        ]
        if self.decoder is not None:
            faults += self._last_is_the_outputs(self.decoder)
        faults += self._foreign()
        if self.zero_bias:
            faults += self._shifts()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _foreign(self) -> list[str]:
        """What belongs to Double InfoGAN's nets and would be passed over by a list of layers, or by the heads of Table 5."""
        faults = []
        if self.encoder is not None and self.norm != "batch":
            faults.append(
                f"encoder: a list of layers names its own norm, found norm: {self.norm} beside it"
            )
        if self.head and self.norm == "spectral":
            faults.append("head: norm: spectral brings the heads of Table 5; expected no list")
        if self.decoder is not None:
            for name in ("upsample", "attention"):
                if (found := getattr(self, name)) != type(self).model_fields[name].default:
                    faults.append(
                        f"decoder: a list of layers has no {name}, found {name}: {found} beside it"
                    )
        return faults

    def _last_is_the_outputs(self, decoder: list[Layer]) -> list[str]:
        if not decoder or decoder[-1].act == "none":
            return []
        return [
            f"decoder.{len(decoder) - 1}: the last activation is nets.output, found act: {decoder[-1].act}"
        ]

    def _shifts(self) -> list[str]:
        """What would turn a zero into something else."""
        faults = (
            []
            if self.output == "linear"
            else [f"zero_bias needs output: linear, found {self.output}"]
        )
        for name in ("encoder", "head", "decoder"):
            listed = getattr(self, name)
            if listed is None:
                faults.append(
                    f"zero_bias needs {name} as a list of layers (Double InfoGAN's has batch normalisation)"
                )
            for i, layer in enumerate(listed or []):
                if layer.norm != "none":
                    faults.append(
                        f"{name}.{i}: zero_bias allows no norm, whose shift is a bias; found {layer.norm}"
                    )
                if layer.act == "sigmoid":
                    faults.append(
                        f"{name}.{i}: zero_bias allows no act: sigmoid, which makes 0.5 of 0"
                    )
        return faults


class TrainConfig(Section):
    """The training's section. Everything is counted in real images, both halves together."""

    images: int = Field(
        default=25_000_000, ge=1
    )  # 500 epochs of 50,000 images: Carton et al. (2024), Sec. 5
    batch: int = Field(default=128, ge=4)  # caption of Table 4; both halves together
    lr: float = Field(default=2e-4, gt=0, allow_inf_nan=False)  # Table 6, CIFAR-MNIST and CelebA
    betas: Pairing = (0.5, 0.999)  # the authors' code
    accumulate: int = Field(
        default=1, ge=1
    )  # parts in which a batch goes through the nets, for less memory
    rollbacks: int = Field(
        default=3, ge=0
    )  # returns to the last checkpoint when numbers are not finite; each halves lr
    reset_optimizers: int = Field(
        default=0, ge=0
    )  # images after which the optimisers start anew; 0: never
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    workers: int = Field(
        default=0, ge=0
    )  # processes that read images; 0 reads them in the training process
    ema: int = Field(
        default=10_000, ge=0
    )  # half-life of the averaged weights in images; 0 switches the average off
    log_every: int = Field(default=2_000, ge=1)
    grid_every: int = Field(default=50_000, ge=0)  # 0: only at the end
    probe_every: int = Field(default=0, ge=0)  # 0: only at the end
    save_every: int = Field(default=100_000, ge=0)  # 0: only at the end
    keep: int = Field(default=3, ge=1)  # newest checkpoints to keep
    keep_every: int = Field(
        default=0, ge=0
    )  # beside them the first checkpoint after every so many images; 0: none
    keep_best: str = ""  # and the one up to which this term, as log.jsonl names it (G/image.target), was lowest on average


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
            raise ValueError(
                f"found {given!r}, expected a number or a mapping with average, best or worst"
            )
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
