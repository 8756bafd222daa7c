"""The held-out subjects of a run: one row each, with codes, attributes and covariates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from studio.analysis_config import AnalysisConfig
from studio.data import Attribute
from studio.errors import StudioError, nearest

__all__ = ["Cohort", "Covariates", "build_cohort", "indicators", "prepare_covariates"]

FEWEST = 10  # rows that a model needs beyond its parameters
MOST_MISSING = 0.5  # share of subjects without a value of a covariate, from which it is refused


@dataclass
class Cohort:
    """Held-out subjects, one row each.

    A subject with images in both sets has a row in each of them.

    Attributes:
        names: (n,) text, unique within a set.
        target: (n,) bool.
        z: common codes (n, k).
        s: salient codes (n, m).
        distance: of the salient code from the blank one, (n,).
        values: attribute -> (n,) class numbers or floats, -1 or NaN where unknown.
        attributes: the attributes that have values.
    """

    names: np.ndarray
    target: np.ndarray
    z: np.ndarray
    s: np.ndarray
    distance: np.ndarray
    values: dict[str, np.ndarray]
    attributes: dict[str, Attribute]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> "Cohort":
        """Returns some rows, chosen by a mask (n,) or by indices."""
        return Cohort(
            self.names[rows],
            self.target[rows],
            self.z[rows],
            self.s[rows],
            self.distance[rows],
            {name: column[rows] for name, column in self.values.items()},
            self.attributes,
        )

    def known(self, name: str) -> np.ndarray:
        """Returns which rows have a value of an attribute, (n,) bool."""
        column = self.values[name]
        return np.isfinite(column) if column.dtype.kind == "f" else column >= 0


def build_cohort(frame: Any, attributes: Mapping[str, Attribute]) -> Cohort:  # noqa: ANN401 - pandas
    """Makes a cohort of the subject rows of `studio.code_frame`.

    Args:
        frame: one row per subject and domain.
        attributes: of the data set. Those without a column in the frame are left out.
    """
    values: dict[str, np.ndarray] = {}
    for name, attribute in attributes.items():
        column = f"attribute.{name}" if f"attribute.{name}" in frame else name
        if column not in frame:
            continue
        if attribute.classes:
            number = {label: i for i, label in enumerate(attribute.classes)}
            values[name] = np.array([number.get(v, -1) for v in frame[column]], np.int64)
        else:
            values[name] = frame[column].to_numpy(float)
    codes = {
        letter: frame[
            [c for c in frame if c.startswith(f"{letter}_") and c[2:].isdigit()]
        ].to_numpy(float)
        for letter in "zs"
    }
    return Cohort(
        frame["subject"].to_numpy(str),
        (frame["domain"] == "target").to_numpy(bool),
        codes["z"],
        codes["s"],
        frame["distance"].to_numpy(float),
        values,
        {name: attributes[name] for name in values},
    )


def indicators(values: np.ndarray) -> np.ndarray:
    """Returns one column per class but the first, (n, classes - 1), of class numbers (n,)."""
    return (values[:, None] == np.unique(values)[1:]).astype(float)


@dataclass
class Covariates:
    """Covariates of some subjects, ready for models.

    Attributes:
        names: of the covariates that are used.
        rows: the subjects that have all of them, (n,) bool.
        columns: design (kept, c) of these subjects without the constant.
        blocks: block of each of these subjects, within which rows are permuted.
        notes: covariates and subjects that are left out, and why.
        impossible: the reason why nothing can be tested, or "".
    """

    names: list[str]
    rows: np.ndarray
    columns: np.ndarray
    blocks: np.ndarray
    notes: list[str] = field(default_factory=list)
    impossible: str = ""


def prepare_covariates(cohort: Cohort, config: AnalysisConfig) -> Covariates:
    """Returns the covariates of some subjects, and says which it leaves out.

    A constant covariate is left out. Subjects without a value of a covariate are left out. If the
    permutation stays within sites, so are subjects that are alone at their site.

    Raises:
        StudioError: a covariate is no attribute, or unknown for more than half of the subjects.
    """
    site = site_of(cohort, config)
    rows = np.ones(len(cohort), bool)
    for name in _unique(config.covariates, site):
        known = cohort.known(name)
        if np.mean(~known) > MOST_MISSING:
            raise StudioError(
                f"analysis.covariates: {name} is unknown for {np.sum(~known)} of {len(cohort)} "
                "held-out subjects, expected at most half; fill in the table or leave it out"
            )
        rows &= known
    notes = []
    if not rows.all():
        notes.append(f"{np.sum(~rows)} of {len(cohort)} subjects lack a covariate and are left out")
    if site:
        sites, place, size = np.unique(
            cohort.values[site][rows], return_inverse=True, return_counts=True
        )
        lonely = size[place] < 2
        if len(sites) and lonely.any():
            notes.append(
                f"{lonely.sum()} subjects are alone at their {site} and are left out, because "
                f"subjects change places within a {site} only"
            )
            rows[np.flatnonzero(rows)[lonely]] = False
    return _design(cohort, config.covariates, site, rows, notes)


def site_of(cohort: Cohort, config: AnalysisConfig) -> str | None:
    """Returns the attribute within whose classes subjects are permuted, after checking all names.

    Raises:
        StudioError: a name is no attribute, or the site is a number.
    """
    for key, names in (("covariates", config.covariates), ("site", [config.site])):
        for name in names:
            if name is not None and name not in cohort.attributes:
                raise StudioError(
                    f"analysis.{key}: no attribute {name!r}{nearest(name, cohort.attributes)}"
                    if cohort.attributes
                    else f"analysis.{key}: no attribute {name!r}, the data have none"
                )
    site = config.site or ("site" if "site" in config.covariates else None)
    if config.site and not cohort.attributes[config.site].classes:
        raise StudioError(
            f"analysis.site: {config.site} is a number, expected a category; "
            f"data.attributes.{config.site}: {{belongs: common, kind: category}} makes it one"
        )
    return site if site and cohort.attributes[site].classes else None


def _unique(names: Sequence[str], site: str | None) -> list[str]:
    return list(dict.fromkeys([*names, *([] if site is None else [site])]))


def _design(
    cohort: Cohort, names: Sequence[str], site: str | None, rows: np.ndarray, notes: list[str]
) -> Covariates:
    used, columns = [], []
    for name in _unique(names, site):
        values = cohort.values[name][rows]
        if len(np.unique(values)) < 2:
            why = "has one value on all subjects that are tested"
            notes.append(f"covariate {name} {why} and is left out")
            continue
        used.append(name)
        numeric = not cohort.attributes[name].classes
        centred = (values[:, None] - values.mean()) / values.std() if numeric else None
        columns.append(indicators(values) if centred is None else centred)
    design = np.hstack(columns) if columns else np.empty((int(rows.sum()), 0))
    blocks = cohort.values[site][rows] if site else np.zeros(len(design), np.int64)
    found = Covariates(used, rows, design, blocks, notes)
    least = design.shape[1] + 1 + FEWEST
    if len(design) < least:
        found.impossible = (
            f"{len(design)} subjects are left for {design.shape[1] + 1} parameters of the "
            f"covariates, expected at least {least}"
        )
    return found
