"""Train and test splits by subject, without stored lists of images.

Files of one subject are always in the same split (`studio.data.subjects` finds the subjects).
Subjects that share an image, pixel for pixel, stay together as well. Then each of the sets gets its
share of test subjects, in the order of a hash of the subject's name. An added subject therefore
moves at most one or two others.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from studio.data.dataset import SPLITS, DataConfig, Split
from studio.data.io.attribute_table import Table
from studio.data.io.names import normalise_name
from studio.data.subjects import (
    Origin,
    Place,
    find_spellings,
    places_by_name,
    read_places,
    separate_conflicts,
)
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.limits import Most

__all__ = [
    "ShareConfig",
    "SplitConfig",
    "SplitPlan",
    "assign_splits",
    "choose_test",
    "hash_to_unit_interval",
    "keep_splits",
    "plan_splits",
    "split_of",
    "straddling",
]

MOST_SHARED = 10  # an image that more subjects share is no sign that they are one subject


class ShareConfig(DataConfig):
    """The fields of a data set that is split by subject, where subjects are known."""

    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the subjects of each set in the test split, where neither a table nor folders
    called train and test state the split.

    Unit: none.
    """

    split_rule: Literal["quotas", "names"] = "quotas"
    """quotas: each set gets its share of test subjects, at least one. names: the name of the
    subject alone decides, and added files never move others. With names, sub-folders and equal
    names of files count for nothing in `folders`. Runs from before this field use names.
    """

    split_seed: int = Field(default=0, ge=0, le=Most.SEED)
    """Seed of the order in which subjects get into the test split. Another seed tests on other
    subjects.

    Unit: none.
    """

    folds: int = Field(default=5, ge=2, le=Most.COUNT)
    """Number of folds of a cross-validation, if `fold` is given.

    Unit: folds.
    """

    fold: int | None = Field(default=None, ge=0, lt=Most.COUNT)
    """The fold that is the test split. Each subject is in exactly one fold. null: no
    cross-validation, `test_share` decides.

    Unit: folds, counted from 0.
    """

    @field_validator("fold")
    @classmethod
    def _below_folds(cls, fold: int | None, info: ValidationInfo) -> int | None:
        folds = info.data.get("folds", 2)
        if fold is not None and fold >= folds:
            raise ValueError(f"found {fold}, expected 0 to {folds - 1}")
        return fold

    @model_validator(mode="after")
    def _check_rule(self) -> Self:
        given = [name for name in ("fold", "split_seed", "subjects") if self._states(name)]
        if self.split_rule == "names" and given:
            raise ValueError(f"split_rule: names has no {', '.join(given)}; expected quotas")
        return self

    def _states(self, name: str) -> bool:
        field = type(self).model_fields.get(name)
        return field is not None and getattr(self, name) != field.default


class SplitConfig(ShareConfig):
    """The fields of a data set that finds the subjects of its files itself."""

    subjects: Literal["auto", "innermost", "files"] = "auto"
    """What counts as a subject where the table names none. auto: the part sub-XX of the path, else
    the first sub-folder, else the file. innermost: the folder that contains the file. files: each
    file.
    """


@dataclass(frozen=True)
class SplitPlan:
    """The split of every image and the reason for it.

    Attributes:
        splits: image -> split.
        subjects: image -> name of its subject. Subjects that share an image have one name.
        origins: image -> reason for its split or its subject.
        both: subjects that the table or the folders put into both splits.
        merged: number of subjects that were joined because they share an image.
        alike: groups of subjects that the table spells in several ways.
    """

    splits: dict[str, Split]
    subjects: dict[str, str]
    origins: dict[str, Origin]
    both: list[str]
    merged: int
    alike: list[list[str]]


def hash_to_unit_interval(*parts: str) -> float:
    """Returns a number in [0, 1) that depends on nothing but the given strings."""
    digest = hashlib.sha256("\0".join(map(normalise_name, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(subject: str, test_share: float) -> Split:
    """Returns the split of a subject, or of a file without one, from its name."""
    return "test" if hash_to_unit_interval("split", subject) < test_share else "train"


def assign_splits(names: Sequence[str], table: Table, test_share: float) -> dict[str, Split]:
    """Assigns images to splits by subject, with the defaults of `SplitConfig`.

    Args:
        names: names of the images, relative to the root.
        table: image -> cells. Only the cells `split` and `subject` are used.
        test_share: share of the subjects in the test split.

    Returns:
        image -> split.

    Raises:
        StudioError: see `plan_splits`.
    """
    config = SplitConfig(name="folders", test_share=test_share)
    return plan_splits(names, table, config).splits


def plan_splits(
    names: Sequence[str],
    table: Table,
    config: SplitConfig,
    digests: Mapping[str, bytes] | None = None,
    conditions: Sequence[str] = (),
) -> SplitPlan:
    """Assigns images to splits by subject.

    The result depends on nothing but the arguments.

    Args:
        names: names of the images, relative to the root.
        table: image -> cells. Only the cells `split` and `subject` are used.
        config: the rule.
        digests: image -> hash of its pixels. Equal images never get into both splits.
        conditions: folders of `target` that are conditions and no subjects.

    Raises:
        StudioError: the table puts a subject into both splits, or states a split that is neither
            train nor test, or there are too few subjects for the folds.
    """
    if config.split_rule == "names":
        return _plan_by_names(names, table, config.test_share)
    spellings = find_spellings(table)
    places = read_places(names, table, config.subjects, spellings, conditions)
    places, both = separate_conflicts(places, table)
    units, merged = _merge_duplicates(places, digests or {})
    stated: dict[str, Split] = {
        units[name]: place.stated for name, place in places.items() if place.stated
    }
    domains: dict[str, set[str]] = defaultdict(set)
    for name, place in places.items():
        domains[units[name]].add(place.domain)
    test = choose_test(domains, stated, config)
    splits: dict[str, Split] = {name: "test" if units[name] in test else "train" for name in places}
    return SplitPlan(
        splits,
        units,
        {name: place.origin for name, place in places.items()},
        both,
        merged,
        [list(forms) for forms in spellings.values() if len(forms) > 1],
    )


def keep_splits(
    splits: Mapping[str, Split], subjects: Mapping[str, str], stored: Mapping[str, Split]
) -> dict[str, Split]:
    """Returns the splits of a run's images, so that no test image becomes a training image.

    Args:
        splits: image -> split, as the present files give it.
        subjects: image -> subject.
        stored: image -> split, as the run was trained.

    Returns:
        image -> stored split. A new image has the split of its subject, if that has one.
    """
    by_subject: dict[str, Split] = {
        subjects[name]: split for name, split in stored.items() if name in subjects
    }
    return {
        name: stored.get(name, by_subject.get(subjects[name], split))
        for name, split in splits.items()
    }


def straddling(splits: Mapping[str, Split], digests: Mapping[str, bytes]) -> dict[str, str]:
    """Returns the training images that have an identical test image, and the latter."""
    found = {}
    for group in _groups(digests):
        tests = [name for name in group if splits[name] == "test"]
        if tests:
            found |= dict.fromkeys((name for name in group if splits[name] == "train"), tests[0])
    return found


def _plan_by_names(names: Sequence[str], table: Table, test_share: float) -> SplitPlan:
    """Lets the name of each subject decide, or the split that the table states for it."""
    places = places_by_name(names, table)
    stated: dict[str, Split] = {
        place.subject: place.stated for place in places.values() if place.stated
    }
    splits: dict[str, Split] = {
        name: stated.get(place.subject) or split_of(place.subject, test_share)
        for name, place in places.items()
    }
    origins: dict[str, Origin] = {
        name: "table" if place.stated else place.origin for name, place in places.items()
    }
    subjects = {name: place.subject for name, place in places.items()}
    return SplitPlan(splits, subjects, origins, [], 0, [])


def _merge_duplicates(
    places: Mapping[str, Place], digests: Mapping[str, bytes]
) -> tuple[dict[str, str], int]:
    """Joins subjects that share an image, unless the splits that are stated for them differ.

    Returns:
        image -> name of its joined subjects, and the number of subjects that were joined.
    """
    parents = {place.subject: place.subject for place in places.values()}
    stated: dict[str, Split] = {
        place.subject: place.stated for place in places.values() if place.stated
    }

    def root(subject: str) -> str:
        while parents[subject] != subject:
            parents[subject] = subject = parents[parents[subject]]
        return subject

    for group in _groups(digests):
        subjects = sorted({places[name].subject for name in group})
        if len(subjects) > MOST_SHARED:
            continue
        for other in subjects[1:]:
            one, two = sorted((root(subjects[0]), root(other)))
            sides: set[Split] = {stated[part] for part in (one, two) if part in stated}
            if one != two and len(sides) < len(SPLITS):
                parents[two] = one
                for side in sides:
                    stated[one] = side
    joined = Counter(root(subject) for subject in parents)
    merged = sum(count for count in joined.values() if count > 1)
    return {name: root(place.subject) for name, place in places.items()}, merged


def _groups(digests: Mapping[str, bytes]) -> Iterable[list[str]]:
    """Returns the groups of images with equal pixels."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for name, digest in digests.items():
        groups[digest].append(name)
    return [group for group in groups.values() if len(group) > 1]


def choose_test(
    domains: Mapping[str, set[str]], stated: Mapping[str, Split], config: ShareConfig
) -> set[str]:
    """Returns the subjects of the test split, by quotas.

    Args:
        domains: subject -> sets in which it has images, at least one.
        stated: subject -> split that is stated.
        config: the rule.

    Raises:
        StudioError: there are too few subjects for the folds.
    """
    fixed = {unit for unit, split in stated.items() if split == "test"}
    seed = [str(config.split_seed)] if config.split_seed else []
    free = sorted(
        (unit for unit in domains if unit not in stated),
        key=lambda unit: (hash_to_unit_interval("split", *seed, unit), unit),
    )
    if config.fold is None:
        return fixed | _choose_share(free, domains, stated, config.test_share)
    for domain in DOMAINS:
        count = sum(domain in domains[unit] for unit in free)
        if count < config.folds:
            raise StudioError(
                f"data.folds: {config.folds} folds need {config.folds} subjects without a stated "
                f"split in each set, {domain}/ has {count}"
            )
    for number in range(config.fold):
        taken = _choose_share(free, domains, {}, 1 / (config.folds - number))
        free = [unit for unit in free if unit not in taken]
    left = config.folds - config.fold
    return fixed | (set(free) if left == 1 else _choose_share(free, domains, {}, 1 / left))


def _choose_share(
    free: Sequence[str],
    domains: Mapping[str, set[str]],
    stated: Mapping[str, Split],
    share: float,
) -> set[str]:
    """Returns the first subjects of an order, so many that each set has its share of them.

    Args:
        free: subjects in the order in which they are taken.
        domains: subject -> sets in which it has images.
        stated: subject -> split that is stated.
        share: share of the subjects of each set.
    """
    strata = {
        key: [unit for unit in free if domains[unit] == set(key)]
        for key in ((DOMAINS[0],), (DOMAINS[1],), DOMAINS)
    }
    sizes = [len(units) for units in strata.values()]
    quotas = [
        _quota(
            sizes[i] + sizes[2],
            share,
            {split for unit, split in stated.items() if split and domain in domains[unit]},
        )
        for i, domain in enumerate(DOMAINS)
    ]
    least = max(0, *(quota - size for quota, size in zip(quotas, sizes, strict=False)))
    shared = max(least, min(_round(share * sizes[2]), sizes[2], *quotas))
    counts = [min(size, max(0, quota - shared)) for quota, size in zip(quotas, sizes, strict=False)]
    return {
        unit
        for units, count in zip(strata.values(), [*counts, shared], strict=True)
        for unit in units[:count]
    }


def _quota(size: int, share: float, sides: set[Split]) -> int:
    """Returns how many of `size` subjects of a set are for testing, at least one on each side.

    Args:
        size: subjects without a stated split.
        share: share that is for testing.
        sides: splits that have a subject of the set already.
    """
    most = size if "train" in sides else max(0, size - 1)
    return min(most, max(_round(share * size), 0 if "test" in sides else 1))


def _round(value: float) -> int:
    return int(value + 0.5)
