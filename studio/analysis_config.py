"""The section `analysis` of a config."""

from typing import Literal

from pydantic import Field

from studio.limits import Most
from studio.section import Flag, Section

__all__ = ["AnalysisConfig"]


class AnalysisConfig(Section):
    """The section `analysis`: how `studio analyse` tests the codes of held-out subjects."""

    covariates: list[str] = Field(default=[])
    """Attributes whose influence is taken out before anything is tested, such as `[age, sex,
    site]`."""

    site: str | None = None
    """Covariate within whose classes subjects are permuted. null: `site`, if it is a covariate,
    else subjects are permuted freely."""

    atlas: str | None = None
    """NIfTI file with one whole number per pixel or voxel of the images, 0 outside of all regions.
    Maps are then also averaged by region. null: none."""

    same_space: Flag = False
    """Whether a pixel is the same place in all images, as after registration. Only then are maps
    tested pixel by pixel. An atlas needs it as well."""

    pool: Literal["mean", "farthest"] = "mean"
    """Code of a subject with several images: `mean` of their codes, or `farthest`, that of the
    image farthest from the blank salient code."""

    most_groups: int = Field(default=6, ge=2, le=50)
    """Largest number of subgroups that is tried.

    Unit: subgroups.
    """

    permutations: int = Field(default=4_999, ge=99, le=Most.IMAGES)
    """Random permutations of each association. The smallest possible p-value is 1 / (1 + this).

    Unit: permutations.
    """

    images: int = Field(default=5_000, ge=10, le=Most.IMAGES)
    """Most held-out images of each set that are read. A larger set is sampled.

    Unit: images.
    """

    seed: int = Field(default=0, ge=0, le=Most.SEED)
    """Seed of all random numbers of the analysis.

    Unit: none.
    """
