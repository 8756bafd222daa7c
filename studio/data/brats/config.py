"""The section `data` of a config whose data set is `brats`."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from studio.data.brats.editions import EDITIONS, EditionName
from studio.data.brats.layout import MODALITIES
from studio.data.io.background import NanRule, check_nan_rule
from studio.data.io.files import FilesConfig
from studio.data.splits import ShareConfig
from studio.data.vbm.config import FIELD_OF_VIEW, LARGEST_SIDE
from studio.errors import nearest
from studio.limits import Most

__all__ = ["BratsConfig"]

SMALLEST_SIDE = 8  # of volumes, in voxels
Share = Annotated[float, Field(ge=0, le=100)]
Number = Annotated[int, Field(ge=0, le=Most.COUNT)]


class BratsConfig(FilesConfig, ShareConfig):
    """The section of `brats`."""

    name: Literal["brats"] = "brats"
    """Name of the data set."""

    dims: Literal[2, 3] = 2
    """2: axial slices. 3: volumes, cubes around the middle of the brain."""

    resolution: int = Field(default=128, ge=6, le=Most.SIDE)
    """Side to which the slices are resized. Of volumes an even number, at most 256.

    Unit: pixels.
    """

    spacing: float | None = Field(default=None, gt=0, le=Most.LEVEL, allow_inf_nan=False)
    """Size of the voxels of volumes. null: 192 mm divided by `resolution`. Not used with `dims: 2`.

    Unit: mm.
    """

    healthy: str | None = None
    """Folder of scans of healthy people, stripped of the skull, which are the background of
    volumes. null: the items are halves of patients' brains, and halves without tumour are the
    background. Needs `dims: 3`.
    """

    modalities: Annotated[
        tuple[Literal["t1", "t1ce", "t2", "flair"], ...], Field(strict=False, min_length=1)
    ] = ("t1",)
    """Modalities of the scans, one channel each."""

    edition: Literal["auto"] | EditionName = "auto"
    """Edition of BraTS, which decides the meaning of the masks' labels. auto: the one that each
    patient's name belongs to; patients of an unknown one are set aside.
    """

    nan: NanRule = None
    """Value that NaN in scans become. background: the value that fills the border of the volume,
    or its lowest one if none does. null: patients with NaN cannot be used.

    Unit: values of the files.
    """

    slices: Annotated[tuple[Number, Number], Field(strict=False)] = (86, 94)
    """First and last axial slice. Volumes have all.

    Unit: slices, counted from below, 0 first.

    Source: Carton et al. (2024), Sec. 5.
    """

    slice_step: int = Field(default=2, ge=1, le=Most.COUNT)
    """Distance between the slices that are used.

    Unit: slices.

    Source: the data of Carton et al. (2024).
    """

    min_tumour: float = Field(default=1.0, gt=0, le=Most.COUNT, allow_inf_nan=False)
    """Smallest area of the tumour in the cropped square that makes a slice a target, or smallest
    volume of the tumour that makes a volume one.

    Unit: cm2, of volumes cm3.
    """

    percentiles: Annotated[tuple[Share, Share], Field(strict=False)] = (0.5, 99.5)
    """Percentiles of the voxels of a volume's brain that become -1 and 1.

    Unit: per cent.
    """

    crop: int = Field(default=0, ge=0, le=Most.SIDE)
    """Side of the centred square that is used. 0: the whole shorter side. The script of Louiset et
    al. uses about 196.

    Unit: voxels.
    """

    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the patients in the test split. Each set has at least one test patient.

    Unit: none.
    """

    max_bad: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of the patients that may be unusable.

    Unit: none.
    """

    memory_gb: float = Field(default=2.0, ge=0, le=Most.MEMORY)
    """Memory for slices. If all slices need more, they are read from the cache when needed.

    Unit: GB.
    """

    cache: str | None = None
    """Folder of the cache. null: the folder that the environment variable STUDIO_CACHE names, else
    `.studio-cache` in the folder of the patients."""

    show_names: bool = True
    """Whether pictures, reports and the app name files and subjects. false: they show `target 271`
    instead.
    """

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, modalities: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(modalities)) < len(modalities):
            raise ValueError(
                f"found {list(modalities)}, expected each of {', '.join(MODALITIES)} at most once"
            )
        return modalities

    @field_validator("edition", mode="before")
    @classmethod
    def _known_edition(cls, name: object) -> object:
        known = ("auto", *EDITIONS)
        if name not in known:
            hint = nearest(str(name), known)
            raise ValueError(f"found {name!r}{hint}")
        return name

    @field_validator("nan", mode="before")
    @classmethod
    def _nan_rule(cls, rule: object) -> object:
        return check_nan_rule(rule)

    @field_validator("slices")
    @classmethod
    def _forwards(cls, slices: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= slices[0] <= slices[1]:
            raise ValueError(
                f"found {list(slices)}, expected [first, last] with 0 <= first <= last"
            )
        return slices

    @field_validator("percentiles")
    @classmethod
    def _upwards(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if not percentiles[0] < percentiles[1]:
            raise ValueError(f"found {list(percentiles)}, expected [low, high] with low < high")
        return percentiles

    @model_validator(mode="after")
    def _check_dims(self) -> "BratsConfig":
        if self.dims == 2:
            given = [name for name in ("healthy", "spacing") if getattr(self, name) is not None]
            if given:
                raise ValueError(f"{given[0]}: needs dims: 3")
        elif self.resolution % 2 or not SMALLEST_SIDE <= self.resolution <= LARGEST_SIDE:
            raise ValueError(
                f"resolution: found {self.resolution}, expected an even number from "
                f"{SMALLEST_SIDE} to {LARGEST_SIDE} with dims: 3"
            )
        return self

    @property
    def voxel(self) -> float:
        """Size of the voxels of volumes in mm."""
        return self.spacing or FIELD_OF_VIEW / self.resolution
