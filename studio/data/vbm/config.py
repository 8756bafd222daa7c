"""The section `data` of a config whose data set is `vbm`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from studio.data.conditions import ConditionsConfig
from studio.data.io.background import NanRule, check_nan_rule
from studio.data.io.files import FilesConfig
from studio.data.splits import ShareConfig
from studio.limits import Most

__all__ = ["FIELD_OF_VIEW", "LARGEST_SIDE", "VbmConfig"]

FIELD_OF_VIEW = 192.0  # mm, the side of the box if `spacing` is null
LARGEST_SIDE = 256  # voxels: 16.8 million of them


def _to_words(values: object) -> object:
    """Converts one value of a column, or several, to a tuple of text. A code such as 1 becomes
    "1"."""
    given = values if isinstance(values, list | tuple) else (values,)
    plain = [v for v in given if isinstance(v, str | int) and not isinstance(v, bool)]
    if len(plain) < len(given):
        return values  # the type of the field then says what is expected
    return tuple(str(value) for value in plain)


Words = Annotated[tuple[str, ...], Field(strict=False, min_length=1), BeforeValidator(_to_words)]
Coordinate = Annotated[float, Field(ge=-Most.SIDE, le=Most.SIDE, allow_inf_nan=False)]


class VbmConfig(FilesConfig, ShareConfig, ConditionsConfig):
    """The section of `vbm`."""

    name: Literal["vbm"] = "vbm"
    """Name of the data set."""

    participants: str = "participants.tsv"
    """Table of the subjects, a row for each, relative to the root."""

    files: list[str] = Field(default=[])
    """Patterns of the volumes that are read, such as `derivatives/cat12/*mwp1*.nii.gz`. Without a
    slash a pattern is compared with the name of a file, otherwise with its path below the root.
    []: `*_T1w.nii.gz` and `*_T1w.nii` in the folders `anat`, outside of `derivatives`.
    """

    exclude: list[str] = Field(default=[])
    """Patterns of volumes that are left out."""

    sessions: Literal["all", "first"] = "all"
    """all: every volume of a subject is an item. They are all in the same split. first: the first
    one by its name."""

    column: str = "diagnosis"
    """Column of the table that divides the subjects into the two sets."""

    background: Words = ("control",)
    """Values of `column` in the background set, in any case of their letters."""

    target: Words = ("patient",)
    """Values of `column` in the target set. Several become an attribute."""

    resolution: int = Field(default=128, ge=8, le=LARGEST_SIDE)
    """Side of the volumes, which are cubes.

    Unit: voxels.

    Source: Louiset et al. (2024), App. E.3.
    """

    spacing: float | None = Field(default=None, gt=0, le=Most.LEVEL, allow_inf_nan=False)
    """Size of the voxels. Volumes with others are resampled. null: 192 mm divided by `resolution`,
    i.e. 1.5 mm at 128, as in maps of CAT12, and 3 mm at 64.

    Unit: mm.
    """

    align: Literal["world", "centre"] = "world"
    """Where the cube lies. world: at the same place of the scanner's or the template's space for
    all volumes, around `centre`. centre: in the middle of each volume, for scans that lie in no
    common space.
    """

    centre: Annotated[tuple[Coordinate, Coordinate, Coordinate], Field(strict=False)] = (
        0.0,
        -18.0,
        18.0,
    )
    """Middle of the cube, to the right, front and head of the origin, if `align` is world.

    Unit: mm.

    Source: the middle of the bounding box of SPM's and FSL's MNI templates.
    """

    brain: Literal["background", "all"] = "background"
    """Voxels that count as brain. background: all without the value that fills the border of the
    volume, which is 0 in maps and in stripped scans. all: every voxel, for scans of whole heads.
    """

    threshold: float = Field(default=0.0, ge=0, le=Most.WEIGHT, allow_inf_nan=False)
    """Distance from the value of the border up to which a voxel counts as border as well.

    Unit: values of the files.
    """

    spread: float = Field(default=4.0, gt=0, le=Most.LEVEL, allow_inf_nan=False)
    """Distance from the mean of the brain that becomes 1, and -1 below. Values beyond are clipped,
    and `data check` says how many.

    Unit: standard deviations of the brain's voxels, for each volume.
    """

    mixed: Literal["resample", "refuse"] = "resample"
    """Volumes with another number or size of voxels than most. resample: they are used. refuse:
    they are set aside."""

    nan: NanRule = None
    """Value that NaN become. background: the value that fills the border of the volume. null:
    volumes with NaN are set aside.

    Unit: values of the files.
    """

    split_rule: Literal["quotas"] = "quotas"
    """Each set gets its share of test subjects, at least one."""

    test_share: float = Field(default=0.25, gt=0, lt=1)
    """Share of the subjects of each set in the test split.

    Unit: none.

    Source: Louiset et al. (2023), Sec. 4.4.
    """

    split: Literal["shares", "folds"] = "shares"
    """Meaning of `fold`. shares: fold k draws `test_share` of the subjects anew, with the seed
    `split_seed` + k, as in the papers. folds: each subject is tested in exactly one fold.
    """

    test_site: str | None = None
    """Site that is the test split, all others being for training. null: sites do not decide."""

    site_column: str = "site"
    """Column of the table with the sites."""

    max_bad: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of the volumes, rows or cells of a column that may be unusable.

    Unit: none.
    """

    max_missing: float = Field(default=0.5, ge=0, lt=1)
    """Largest share of the rows of either set that may have no volume.

    Unit: none.
    """

    cache: str | None = None
    """Folder of the cache. null: the folder that the environment variable STUDIO_CACHE names, else
    `.studio-cache` in the root."""

    show_names: bool = True
    """Whether pictures, reports and the app name files and subjects. false: they show `target 271`
    instead.
    """

    @field_validator("nan", mode="before")
    @classmethod
    def _nan_rule(cls, rule: object) -> object:
        return check_nan_rule(rule)

    @model_validator(mode="after")
    def _check_sets(self) -> "VbmConfig":
        both = {word.casefold() for word in self.background} & {
            word.casefold() for word in self.target
        }
        if both:
            raise ValueError(f"target: {sorted(both)[0]!r} is a value of background as well")
        if self.test_site is not None and self.fold is not None:
            raise ValueError("test_site: and fold both decide the test split; give one of them")
        return self

    @property
    def voxel(self) -> float:
        """Size of the voxels in mm."""
        return self.spacing or FIELD_OF_VIEW / self.resolution
