"""The sections of a config that every experiment has: `nets`, `train` and `paper`."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from studio.limits import Most
from studio.published import PaperConfig, PaperReading, Published
from studio.section import FieldDoc, Flag, Section, field_docs
from studio.train_config import TrainConfig

__all__ = [
    "FieldDoc",
    "Flag",
    "Layer",
    "NetsConfig",
    "PaperConfig",
    "PaperReading",
    "Published",
    "Section",
    "TrainConfig",
    "field_docs",
]


def _check_size(value: object) -> object:
    if value == "image" or (type(value) is int and 1 <= value <= Most.CHANNELS):
        return value
    raise ValueError(
        f"found {value!r}, expected a whole number from 1 to {Most.CHANNELS:,}, or image"
    )


Count = Annotated[int, Field(ge=1, le=Most.SIDE)]
Size = Annotated[int | Literal["image"], BeforeValidator(_check_size)]

LAYERS = ("conv", "deconv", "linear", "flatten", "unflatten", "pool", "up")
WEIGHTED = frozenset({"bias", "norm", "norm_after_act", "act", "slope"})
CONVOLVED = WEIGHTED | {"kernel", "stride", "padding"}
OPTIONS = {"conv": CONVOLVED, "deconv": CONVOLVED | {"output_padding"}, "linear": WEIGHTED}


class Layer(Section):
    """One layer of a list. Exactly one of the fields `conv` to `up` names its kind (see
    `nets.layers`)."""

    conv: Size | None = None
    """A convolution with this number of output channels; `image` stands for the channels of the
    images.

    Unit: channels.
    """
    deconv: Size | None = None
    """A transposed convolution with this number of output channels; `image` stands for the channels
    of the images.

    Unit: channels.
    """
    linear: Size | None = None
    """A fully connected layer with this number of outputs; `image` stands for the numbers of an
    image.

    Unit: numbers.
    """
    flatten: Flag = False
    """Turns a map into a vector."""
    unflatten: (
        Annotated[tuple[Count, ...], Field(strict=False, min_length=3, max_length=4)] | None
    ) = None
    """Turns a vector into a map of this shape, channels first.

    Unit: channels, pixels or voxels.
    """
    pool: Literal["average"] | None = None
    """Averages each channel of a map over its positions, which gives a vector."""
    up: Annotated[int, Field(ge=2, le=Most.SIDE)] | None = None
    """Enlarges a map by this factor, repeating the nearest element.

    Unit: none.
    """
    kernel: Count | None = None
    """Side of the kernel. A convolution needs it.

    Unit: pixels or voxels.
    """
    stride: Count = 1
    """Step of a convolution.

    Unit: pixels or voxels.
    """
    padding: int = Field(default=0, ge=0, le=Most.SIDE)
    """Zeros added at each border before a convolution.

    Unit: pixels or voxels.
    """
    output_padding: int = Field(default=0, ge=0, le=Most.SIDE)
    """Elements added at one border of the output of a transposed convolution.

    Unit: pixels or voxels.
    """
    bias: Flag = True
    """Whether the layer has a bias."""
    norm: Literal["none", "batch", "instance", "channel"] = "none"
    """Normalisation after the layer."""
    norm_after_act: Flag = False
    """Whether the normalisation follows the activation instead of preceding it."""
    act: Literal["none", "relu", "leaky", "tanh", "sigmoid"] = "none"
    """Activation after the layer."""
    slope: float | None = Field(default=None, ge=0, lt=1)
    """Slope of `act: leaky` for negative inputs. null: 0.2.

    Unit: none.
    """

    @property
    def kind(self) -> str:
        """Name of the one field of `LAYERS` that the layer states."""
        return self._stated_kinds()[0]

    @model_validator(mode="after")
    def _check_layer(self) -> Self:
        kinds = self._stated_kinds()
        if len(kinds) != 1:
            raise ValueError(
                f"found {' and '.join(kinds) or 'none'}, expected exactly one of "
                f"{', '.join(LAYERS)}"
            )
        kind = kinds[0]
        foreign = sorted(self._stated_fields() - {kind} - OPTIONS.get(kind, frozenset()))
        if foreign:
            raise ValueError(f"{kind} has no {', '.join(foreign)}")
        if kind in ("conv", "deconv") and self.kernel is None:
            raise ValueError(f"{kind} needs a kernel, e.g. kernel: 4")
        if self.output_padding >= self.stride and self.output_padding:
            raise ValueError(
                f"output_padding must be below the stride, found {self.output_padding} and "
                f"{self.stride}"
            )
        if self.slope is not None and self.act != "leaky":
            raise ValueError(f"slope needs act: leaky, found act: {self.act}")
        if self.norm_after_act and "none" in (self.norm, self.act):
            raise ValueError("norm_after_act needs a norm and an act")
        if kind == "linear" and self.norm == "instance":
            raise ValueError(
                "norm: instance needs a map, linear makes a vector; expected batch or channel"
            )
        return self

    def _stated_kinds(self) -> list[str]:
        return [kind for kind in LAYERS if getattr(self, kind) not in (None, False)]

    def _stated_fields(self) -> set[str]:
        return {
            name
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        }

    @model_serializer(mode="wrap")
    def _serialise_briefly(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out defaults, so that a resolved config shows layers as they were written."""
        stated = self._stated_fields()
        return {name: value for name, value in write(self).items() if name in stated}


class NetsConfig(Section):
    """The `nets` section: the networks that every method is built from."""

    width: int = Field(default=64, ge=1, le=Most.CHANNELS)
    """Channels of the stage next to the image, in Double InfoGAN's trunk and generator.

    Unit: channels.
    Source: Carton et al. (2024), Table 4.
    """
    norm: Literal["batch", "spectral", "channel"] = "batch"
    """Normalisation of the trunk: batch normalisation (Table 4) or spectral normalisation with the
    heads of Table 5. `channel`: channel normalisation in trunk and generator, which treats every
    image by itself, so that a batch can be cut into any micro-batches (`train.accumulate`).

    Source: Carton et al. (2024), Tables 4 and 5.
    """
    upsample: Literal["transposed", "nearest"] = "transposed"
    """How the generator enlarges maps: transposed convolutions (Table 4) or nearest neighbours
    (Table 5).

    Source: Carton et al. (2024), Tables 4 and 5.
    """
    attention: int = Field(default=0, ge=0, le=Most.SIDE)
    """Side of the generator's map that gets self-attention, 32 in Table 5. 0: no attention.

    Unit: pixels or voxels.
    Source: Carton et al. (2024), Tables 4 and 5.
    """
    encoder: list[Layer] | None = None
    """Layers of the encoder. null: Double InfoGAN's trunk, for every method."""
    head: list[Layer] = Field(default=[])
    """Linear layers between the trunk and each of its outputs."""
    decoder: list[Layer] | None = None
    """Layers of the decoder. null: Double InfoGAN's generator, for every method."""
    output: Literal["tanh", "sigmoid", "linear"] = "tanh"
    """Last activation of the decoder. With `sigmoid` and `linear` nets work on images in [0, 1], as
    some papers' do (`nets.scale`)."""
    init: Literal["auto", "dcgan", "torch"] = "auto"
    """Initial weights: `dcgan` draws them from N(0, 0.02^2), `torch` keeps PyTorch's. `auto`:
    `dcgan` for Double InfoGAN's nets and `torch` for listed layers."""
    zero_bias: Flag = False
    """Removes every bias, so that a code of zeros decodes to exactly black. It needs listed layers
    without normalisation.

    Source: Abid and Zou (2019), Sec. 3.
    """
    preset: None = Field(default=None, exclude=True)
    """Name of a file in `configs/nets` with a published architecture. The other fields of the
    section override it, and a resolved config contains its fields instead of its name."""

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        faults = [
            f"head.{i}: expected linear"
            for i, layer in enumerate(self.head)
            if layer.linear is None
        ]
        if self.decoder is not None:
            faults += self._last_activation_faults(self.decoder)
        faults += self._unused_fields()
        if self.zero_bias:
            faults += self._shift_faults()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _unused_fields(self) -> list[str]:
        """Returns faults for fields that listed layers or the heads of Table 5 would ignore."""
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

    def _last_activation_faults(self, decoder: list[Layer]) -> list[str]:
        if not decoder or decoder[-1].act == "none":
            return []
        return [
            f"decoder.{len(decoder) - 1}: the last activation is nets.output, found act: "
            f"{decoder[-1].act}"
        ]

    def _shift_faults(self) -> list[str]:
        """Returns faults for layers that would not map a code of zeros to exact black."""
        faults = (
            []
            if self.output == "linear"
            else [f"zero_bias needs output: linear, found {self.output}"]
        )
        for name in ("encoder", "head", "decoder"):
            listed = getattr(self, name)
            if listed is None:
                faults.append(
                    f"zero_bias needs {name} as a list of layers "
                    f"(Double InfoGAN's has batch normalisation)"
                )
            for i, layer in enumerate(listed or []):
                if layer.norm != "none":
                    faults.append(
                        f"{name}.{i}: zero_bias allows no norm, because its shift is a bias; "
                        f"found {layer.norm}"
                    )
                if layer.act == "sigmoid":
                    faults.append(
                        f"{name}.{i}: zero_bias allows no act: sigmoid, which maps 0 to 0.5"
                    )
        return faults
