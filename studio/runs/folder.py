"""A run's directory: finding it, refusing it, and claiming it for a training."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from studio.atomic import write_text
from studio.config import Config, dump, flatten
from studio.errors import StudioError, nearest
from studio.runs.data_file import DATA_FILE
from studio.runs.run_data import absolute_paths
from studio.runs.start import START_FILE
from studio.runs.stored_config import read_stored_config

__all__ = [
    "ALLOW_DATA",
    "FREE_TO_CHANGE",
    "claim_folder",
    "find_folder",
    "make_folder",
]

# Fields that a resumed training may change, because they decide how long it trains and how much it
# reports, not the weights that it reaches.
FREE_TO_CHANGE = {
    "name",
    "data.cache",
    "data.memory_gb",
    "train.images",
    "train.threads",
    "train.workers",
    "train.recompute",
    "train.data_on_device",
    "train.check_every",
    "train.log_every",
    "train.log_with",
    "train.grid_every",
    "train.probe_every",
    "train.save_every",
    "train.keep",
    "train.keep_every",
    "train.keep_best",
    "train.stop_when",
    "train.stop_when.term",
    "train.stop_when.patience",
    "train.rollbacks",
    "paper",
    "analysis",
}

ALLOW_DATA = "data"  # `--allow data` accepts another content of the data, not another config

# Prefixes of the files that a training leaves in a directory if it is killed before it begins.
LEFTOVERS = (".lock", ".writing-", START_FILE)


def find_folder(
    config: Config, folder: Path | None, resume: bool, allowed: Sequence[str] = ()
) -> Path:
    """Finds a run's directory and checks that it may be used. Writes nothing.

    Args:
        config: the experiment.
        folder: the directory. If None, the next free `runs/NAME-N`, or the last one to resume.
        resume: whether to continue the run in the directory.
        allowed: fields that may differ from the run's config, besides `FREE_TO_CHANGE`.
            `ALLOW_DATA` is ignored.

    Returns:
        the directory.

    Raises:
        StudioError: a run exists and `resume` is off, no run exists and it is on, or the run's
            config differs.
    """
    if folder is None:
        folder = _last_run(config.name) if resume else _next_run(config.name)
    folder = Path(os.path.expanduser(folder))
    if (folder / "config.yaml").is_file():
        if not resume:
            raise StudioError(
                f"{folder}: already contains a run; --resume continues it, and another --run "
                "leaves it unchanged"
            )
        _refuse_changes(folder, config, allowed)
    elif resume and not folder.exists():
        raise StudioError(f"--resume: {folder}: no such run")
    elif folder.exists() and not _is_free(folder):
        raise StudioError(f"{folder}: not empty and not a run (no config.yaml); give another --run")
    return folder


def claim_folder(config: Config, folder: Path) -> Path:
    """Makes a run's directory, saves the resolved config in it, and returns it.

    Folders in the config become absolute, so that the run opens from every working directory.

    Raises:
        StudioError: the directory cannot be written.
    """
    make_folder(folder)
    write_text(folder / "config.yaml", dump(absolute_paths(config)))
    return folder


def make_folder(folder: Path) -> None:
    """Makes a directory and its parents.

    Raises:
        StudioError: the directory cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudioError(f"{folder}: cannot be written: {error.strerror}") from None


def _is_free(folder: Path) -> bool:
    return folder.is_dir() and all(path.name.startswith(LEFTOVERS) for path in folder.iterdir())


def _next_run(name: str) -> Path:
    return Path("runs") / f"{name}-{max(_run_numbers(name), default=0) + 1}"


def _last_run(name: str) -> Path:
    numbers = _run_numbers(name)
    if not numbers:
        raise StudioError(
            f"--resume: no run of {name} in {Path('runs').resolve()}; --run DIR names one elsewhere"
        )
    return Path("runs") / f"{name}-{max(numbers)}"


def _run_numbers(name: str) -> list[int]:
    pattern = re.escape(name) + r"-(\d+)"
    found = (re.fullmatch(pattern, path.name) for path in Path("runs").glob("*"))
    return [int(match[1]) for match in found if match]


def _refuse_changes(folder: Path, config: Config, allowed: Sequence[str]) -> None:
    """Refuses a config that would train the stored run to other weights."""
    stored = absolute_paths(read_stored_config(folder))
    before, after = (flatten(c.model_dump(mode="json")) for c in (stored, absolute_paths(config)))
    allowed = [name for name in allowed if name != ALLOW_DATA]
    unknown = [name for name in allowed if name not in before and name not in after]
    if unknown:
        raise StudioError(f"--allow {unknown[0]}: no such field{nearest(unknown[0], after)}")
    # Where data.json tells whether the content is the same, its place is of no importance.
    moved = {"data.root", "data.grass_root"} if (folder / DATA_FILE).is_file() else set()
    free = FREE_TO_CHANGE | moved | {*allowed}
    if after.get("train.mixed_precision") == "auto":  # which keeps the precision of the run
        free.add("train.mixed_precision")
    changed = [
        field
        for field in {**before, **after}
        if before.get(field) != after.get(field)
        and field not in free
        and field.partition(".")[0] not in free
    ]
    if changed:
        lines = "\n".join(
            f"  {field}: {before.get(field)!r} in the run, {after.get(field)!r} now"
            for field in changed
        )
        raise StudioError(
            f"{folder}: cannot be resumed with another config; --allow FIELD accepts a change\n"
            f"{lines}"
        )
