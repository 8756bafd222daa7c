"""`data.json` of a run: what was derived from its data, and a fingerprint of the data.

A run that is opened later uses the stored facts (`derived`: the window, the split), even if the
files have changed. The fingerprint tells whether they have.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import __version__
from studio.atomic import write_json
from studio.data.fingerprint import Fingerprint
from studio.errors import StudioError, reason_of
from studio.lfs import refuse_pointer

__all__ = ["DATA_FILE", "DataFile", "read_data_file"]

DATA_FILE = "data.json"
FORMAT = 1


@dataclass(frozen=True)
class DataFile:
    """The content of `data.json`.

    Attributes:
        dataset: name of the data set.
        derived: what was derived from the data, see `Dataset.derived`.
        fingerprint: of the data. None in an export.
    """

    dataset: str
    derived: Mapping[str, Any]
    fingerprint: Fingerprint | None

    def write(self, folder: Path) -> None:
        """Writes `data.json`, whole or not at all."""
        fingerprint = None if self.fingerprint is None else self.fingerprint.to_json()
        content = {
            "format": FORMAT,
            "studio": __version__,
            "dataset": self.dataset,
            "derived": dict(self.derived),
            "fingerprint": fingerprint,
        }
        write_json(folder / DATA_FILE, content)


def read_data_file(folder: Path) -> DataFile | None:
    """Reads `data.json`, or returns None if the run has none, as runs of older studios.

    Raises:
        StudioError: the file is damaged, or a newer studio wrote it.
    """
    path = folder / DATA_FILE
    if not path.is_file():
        return None
    refuse_pointer(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        number, stored = content["format"], content["fingerprint"]
        if isinstance(number, int) and number > FORMAT:
            raise StudioError(
                f"{path}: written by a newer studio (format {number}, this one reads {FORMAT}): "
                "update the studio"
            )
        fingerprint = None if stored is None else Fingerprint.from_json(stored)
        return DataFile(str(content["dataset"]), dict(content["derived"]), fingerprint)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(
            f"{path}: damaged ({reason_of(error)}); without the file the run opens "
            "as one of an older studio, which knows nothing of its data"
        ) from None
