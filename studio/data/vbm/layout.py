"""The volumes of a BIDS folder: which files are read, and the subject of each."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from studio.data.io.names import join_names
from studio.data.io.scan import matches_any, scan_images
from studio.data.io.volume_files import is_nifti
from studio.data.vbm.config import VbmConfig
from studio.errors import StudioError

__all__ = ["VBM_LAYOUT", "Found", "bare_id", "find_volumes"]

VBM_LAYOUT = (
    "a BIDS folder: ROOT/participants.tsv with the columns participant_id and diagnosis "
    "(data.column), and ROOT/sub-01/anat/sub-01_T1w.nii.gz (or sub-01/ses-1/anat/...), or "
    "other volumes that data.files picks, such as derivatives/cat12/*mwp1*.nii.gz"
)
SUBJECT = re.compile(r"sub-([A-Za-z0-9]+)")
RAW = ("*_t1w.nii.gz", "*_t1w.nii")  # suffix of BIDS, compared in lower case
SHOWN = 3  # files in a message


@dataclass
class Found:
    """The volumes of a folder.

    Attributes:
        subjects: volume, relative to the root -> its subject, sub-XX.
        faults: (file, reason) for each volume whose subject is not clear.
        notes: facts that a user should know.
    """

    subjects: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def bare_id(name: str) -> str:
    """Returns the name of a subject as it is compared: without `sub-`, in lower case."""
    return name.strip().casefold().removeprefix("sub-")


def find_volumes(root: Path, config: VbmConfig) -> Found:
    """Finds the volumes that the config picks, sorted by name.

    Raises:
        StudioError: there are none, or a folder cannot be listed.
    """
    scanned = scan_images(root)
    names = [name for name in scanned.names if is_nifti(Path(name))]
    picked = _pick(root, names, config)
    found = Found()
    strange = [name for name in scanned.others if is_nifti(Path(name))]
    found.faults += [
        (name, "has a path that is not UTF-8: rename it") for name in _matching(strange, config)
    ]
    if config.exclude:
        kept = [name for name in picked if not matches_any(name, config.exclude)]
        if not kept:
            raise StudioError(
                f"data.exclude: {_quote(config.exclude)} leaves none of the {len(picked)} volumes"
            )
        found.notes.append(
            f"data.exclude {_quote(config.exclude)} leaves out {len(picked) - len(kept)} of "
            f"{len(picked)} volumes"
        )
        picked = kept
    for name in picked:
        own, around = _subjects(name)
        if own and around and bare_id(own) != bare_id(around):
            found.faults.append((name, f"is named {own} but lies in a folder {around}"))
        elif own or around:
            found.subjects[name] = own or around
        else:
            found.faults.append((name, "has no sub-XX in its path, so its subject is not known"))
    if config.sessions == "first":
        _keep_first(found)
    return found


def _pick(root: Path, names: Sequence[str], config: VbmConfig) -> list[str]:
    """Returns the volumes that `data.files` names, or the raw T1-weighted scans of BIDS."""
    picked = _matching(names, config)
    if not picked:
        wanted = "no *_T1w.nii.gz in a folder sub-XX/anat"
        if config.files:
            wanted = f"data.files: {_quote(config.files)} matches none"
        seen = f"{len(names)} NIfTI files, such as {join_names(names, SHOWN)}" if names else "none"
        remedy = "" if config.files or not names else "; data.files picks others"
        raise StudioError(f"{root}: {wanted}; found {seen}{remedy}; expected {VBM_LAYOUT}")
    return picked


def _matching(names: Sequence[str], config: VbmConfig) -> list[str]:
    if config.files:
        return [name for name in names if matches_any(name, config.files)]
    parts = {name: PurePosixPath(name).parts for name in names if matches_any(name, RAW)}
    return [
        name
        for name, (first, *rest) in parts.items()
        if "anat" in rest[:-1] and first.casefold() not in ("derivatives", "sourcedata")
    ]


def _subjects(name: str) -> tuple[str, str]:
    """Returns the subject in the name of a file, and that of the folder around it, or ""."""
    *folders, own = PurePosixPath(name).parts
    found = [match[0] for part in folders if (match := SUBJECT.fullmatch(part))]
    match = SUBJECT.search(own)
    return match[0] if match else "", found[-1] if found else ""


def _keep_first(found: Found) -> None:
    """Keeps the first volume of each subject."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, subject in found.subjects.items():
        groups[bare_id(subject)].append(name)
    left = len(found.subjects) - len(groups)
    found.subjects = {rows[0]: found.subjects[rows[0]] for rows in groups.values()}
    if left:
        found.notes.append(f"data.sessions: first leaves out {left} later volumes of subjects")


def _quote(patterns: Sequence[str]) -> str:
    return join_names([repr(pattern) for pattern in patterns])
