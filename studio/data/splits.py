"""Train and test splits by subject, without stored lists of images.

The split of an image depends on nothing but the name of its subject (or, without a subject, on its
own name). Adding images therefore never moves existing ones to the other split.
"""

import hashlib
from collections.abc import Mapping, Sequence

from studio.data.dataset import SPLITS, Split
from studio.data.io.attribute_table import TABLE, Table
from studio.data.io.names import normalise_name
from studio.errors import StudioError

__all__ = ["assign_splits", "hash_to_unit_interval", "keep_splits", "split_of"]


def hash_to_unit_interval(*parts: str) -> float:
    """Returns a number in [0, 1) that depends on nothing but the given strings."""
    digest = hashlib.sha256("\0".join(map(normalise_name, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(subject: str, test_share: float) -> Split:
    """Returns the split of a subject, or of a file without one, from its name."""
    return "test" if hash_to_unit_interval("split", subject) < test_share else "train"


def assign_splits(names: Sequence[str], table: Table, test_share: float) -> dict[str, Split]:
    """Assigns images to splits by subject.

    If the table states a split for one image, it applies to all images of that subject. Otherwise
    `split_of` decides.

    Args:
        names: names of the images.
        table: image -> cells. Only the cells `split` and `subject` are used.
        test_share: expected share of subjects in the test split.

    Returns:
        image -> split.

    Raises:
        StudioError: the table puts a subject into both splits, or states a split that is neither
            train nor test.
    """
    units = {name: normalise_name(table.get(name, {}).get("subject") or name) for name in names}
    stated: dict[str, Split] = {}
    for name, cells in table.items():
        split = cells.get("split", "").lower()
        if split and split not in SPLITS:
            raise StudioError(f"{TABLE}: split of {name} is {split!r}, expected train or test")
        if split and stated.setdefault(units[name], split) != split:
            raise StudioError(f"{TABLE}: subject {units[name]!r} is in both splits, see {name}")
    return {name: stated.get(unit) or split_of(unit, test_share) for name, unit in units.items()}


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
