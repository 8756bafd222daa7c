"""The directory of a training: what it knows of an earlier part, and its claim by this one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.config import Config
from studio.data import Dataset
from studio.errors import StudioError
from studio.runs.data_file import DataFile, read_data_file
from studio.runs.folder import ALLOW_DATA, claim_folder, find_folder, make_folder
from studio.runs.lock import Lock
from studio.runs.run_data import compare_data
from studio.runs.start import START_FILE
from studio.runs.stored_config import read_stored_config
from studio.training.start import Beginning

__all__ = ["known_facts", "read_stored", "stored_precision", "take_folder"]


def read_stored(
    config: Config, folder: Path | None, resume: bool, allowed: Sequence[str]
) -> DataFile | None:
    """Returns the facts of a run that is resumed, or None for a new run or one without them."""
    if not resume:
        return None
    stored = read_data_file(find_folder(config, folder, resume, allowed))
    return stored if stored is not None and stored.dataset == config.data.name else None


def known_facts(
    config: Config,
    folder: Path | None,
    resume: bool,
    allowed: Sequence[str],
    stored: DataFile | None,
) -> Mapping[str, Any] | None:
    """Returns what is known of a run's data: nothing for a run of an older studio, None if new."""
    if stored is not None:
        return stored.derived
    old = resume and (find_folder(config, folder, resume, allowed) / "config.yaml").is_file()
    return {} if old else None


def stored_precision(
    config: Config, folder: Path | None, resume: bool, allowed: Sequence[str]
) -> str | None:
    """Returns the precision of a run that is resumed, or None for a new run."""
    if not resume:
        return None
    folder = find_folder(config, folder, resume, allowed)
    if not (folder / "config.yaml").is_file():  # stopped before it began
        return None
    return read_stored_config(folder).train.mixed_precision


def take_folder(
    config: Config,
    folder: Path | None,
    resume: bool,
    allowed: Sequence[str],
    lock: Lock,
    dataset: Dataset,
    stored: DataFile | None,
    beginning: Beginning | None = None,
) -> tuple[Path, str]:
    """Claims the run's directory and stores its start and the facts of its data.

    Returns:
        the directory, and the differences of the data from those of the run.
    """
    folder = find_folder(config, folder, resume, allowed)
    changes, _ = compare_data(dataset, stored)
    if changes and ALLOW_DATA not in allowed:
        raise StudioError(
            f"{folder}: cannot be resumed with other data: {changes}; --allow {ALLOW_DATA} accepts "
            "them and keeps the window and the split of the images that the run knows"
        )
    make_folder(folder)
    lock.acquire(folder)
    # Again, because the former owner of the lock may have made a run in the directory.
    find_folder(config, folder, resume, allowed)
    if beginning is None:
        (folder / START_FILE).unlink(missing_ok=True)  # of a training killed before it began
    else:
        beginning.start.write(folder)
    claim_folder(config, folder)
    if changes or stored is None or dataset.derived() != stored.derived:
        DataFile(config.data.name, dataset.derived(), dataset.fingerprint()).write(folder)
    return folder, changes
