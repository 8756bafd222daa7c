"""The config of a run, as an earlier studio meant it."""

from pathlib import Path

from studio import __version__
from studio.config import Config, read_yaml, resolve
from studio.errors import StudioError
from studio.lfs import refuse_pointer

__all__ = ["read_stored_config"]


def read_stored_config(folder: Path) -> Config:
    """Reads `config.yaml` of a run or an export.

    Runs of `folders` and `brats` from before the field `data.split_rule` keep the rule of that
    time, so that no training image becomes a test image.

    Raises:
        StudioError: the config is invalid, or has fields that this studio does not know.
        NotDamagedError: the file is a Git LFS pointer.
    """
    path = folder / "config.yaml"
    refuse_pointer(path)
    raw = read_yaml(path)
    data = raw.get("data")
    if (
        isinstance(data, dict)
        and data.get("name") in ("folders", "brats")
        and "split_rule" not in data
    ):
        raw = {**raw, "data": {**data, "split_rule": "names"}}
    train = raw.get("train")
    if isinstance(train, dict) and "mixed_precision" not in train:  # the former default
        raw = {**raw, "train": {**train, "mixed_precision": "no"}}
    try:
        return resolve(raw, folder.name, str(path))
    except StudioError as error:
        _, *faults = str(error).splitlines()
        if not any(f"no such {kind}" in fault for fault in faults for kind in ("field", "section")):
            raise
        newer = (
            f"{path}: written by a newer studio than this one ({__version__}), or edited: update "
            "the studio, or remove what it does not know"
        )
        raise StudioError("\n".join([newer, *faults])) from None
