"""Notes on a user's copy of BraTS: editions, background, NaN, orientation, and unusual grids."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import multimode
from typing import Any

from studio.data.brats.cache import CacheEntry
from studio.data.brats.editions import Edition
from studio.data.brats.layout import Patient
from studio.data.io.nifti import Fault, orientation_notes

__all__ = ["edition_notes", "find_unusual", "order_notes", "scan_notes"]


def edition_notes(editions: Sequence[Edition]) -> Iterator[str]:
    """Yields the editions of the patients and the meaning of their labels."""
    for title, count in Counter(edition.title for edition in editions).items():
        edition = next(edition for edition in editions if edition.title == title)
        have = "patient has" if count == 1 else "patients have"
        yield f"{count} {have} the labels of {title}: {edition.describe()}"


def order_notes(patients: Sequence[Patient]) -> Iterator[str]:
    """Yields the order of modalities in the 4-D files of patients, which the files do not state."""
    orders = Counter(tuple(patient.volumes) for patient in patients if patient.volumes)
    for order, count in orders.items():
        yield (
            f"{count} patients have a 4-D file, and its volumes are {', '.join(order)}: that is "
            "the order of the Decathlon, or of dataset.json if there is one"
        )


def scan_notes(facts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields notes on scans that are unlike those of BraTS, from the facts of every patient."""
    grounds = [fact["background"] for fact in facts]
    other = [value for ground in grounds for value in ground.values() if value is not None]
    if other:
        ends = " to ".join(f"{value:g}" for value in dict.fromkeys((min(other), max(other))))
        count = sum(any(value is not None for value in ground.values()) for ground in grounds)
        yield (
            f"the background is not 0 but {ends} in scans of {count} of {len(facts)} patients: "
            "it fills their border, so it does not count as brain"
        )
    if count := sum(None in ground.values() for ground in grounds):
        yield (
            f"scans of {count} of {len(facts)} patients have no background: no value fills their "
            "border, so the whole slice counts as brain in brain_area and data.percentiles; "
            "set their background to 0"
        )
    if count := sum(fact["filled"] > 0 for fact in facts):
        yield f"scans of {count} of {len(facts)} patients had NaN, which data.nan replaced"
    faults: list[Fault] = [_worst(fact["orientation"]) for fact in facts]
    yield from orientation_notes(faults, "patients")


def _worst(faults: Sequence[Fault]) -> Fault:
    if "contradictory" in faults:
        return "contradictory"
    return "unknown" if "unknown" in faults else ""


def find_unusual(entries: Mapping[str, CacheEntry]) -> dict[str, str]:
    """Returns the patients with another size or number of voxels than most, with a reason.

    Slices of the same number would show other places of them.
    """
    grids = {
        name: (tuple(entry.facts["shape"]), tuple(entry.facts["spacing"]))
        for name, entry in entries.items()
    }
    usual = min(multimode(grids.values()), default=((), ()))
    text = "{} voxels of {} mm".format
    kinds = {
        grid: text(*(" x ".join(f"{n:g}" for n in part) for part in grid))
        for grid in {*grids.values(), usual}
    }
    return {
        name: f"has {kinds[grid]}, most have {kinds[usual]}"
        for name, grid in grids.items()
        if grid != usual
    }
