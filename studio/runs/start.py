"""`start.json` of a run: the trained nets from which its training started, if it did.

The file is written before the run's config, so that a training that is killed before its first
checkpoint starts from the same nets when it is resumed. Checkpoints and exports repeat the record.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studio.atomic import write_json
from studio.errors import StudioError, reason_of

__all__ = ["START_FILE", "Start", "read_start"]

START_FILE = "start.json"


@dataclass(frozen=True)
class Start:
    """The trained nets from which a training started.

    Attributes:
        run: absolute path of the run or export.
        method: its method.
        dataset: its data set.
        images_seen: real images that these nets had seen before.
        weights: which of its weights were taken, always the averaged ones.
        sha256: hash of the file of these weights.
    """

    run: str
    method: str
    dataset: str
    images_seen: int
    weights: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Returns the record in manifests and `start.json`."""
        return asdict(self)

    def describe(self) -> str:
        """Returns words for a log or a model card, without folders of this machine."""
        return (
            f"the {self.weights} weights of {Path(self.run).name} ({self.method} on "
            f"{self.dataset}, {self.images_seen:,} images)"
        )

    def write(self, folder: Path) -> None:
        """Writes `start.json`, whole or not at all."""
        write_json(folder / START_FILE, self.to_json())


def read_start(folder: Path) -> Start | None:
    """Reads `start.json`, or returns None if the training started from random nets.

    Raises:
        StudioError: the file is damaged.
    """
    path = folder / START_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Start(**{key: content[key] for key in Start.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(f"{path}: damaged ({reason_of(error)})") from None
