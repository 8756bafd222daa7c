"""The results of `studio apply` in their folder: `codes.csv`, row by row, and how to continue it.

Rows are written as soon as the files that they describe, so a process that ends early leaves a
table of everything that it has finished. `apply.json` beside the table says by which model and
which options the results were made, because only the same command may continue them.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from studio.atomic import write_file, write_json
from studio.codes_table import CodesWriter
from studio.data.io.names import normalise_name
from studio.data.subjects import read_places
from studio.domains import DOMAINS
from studio.errors import StudioError, reason_of
from studio.method import Method

__all__ = ["CODES", "FACTS", "ResultRow", "ResultsTable", "find_subjects", "hash_weights"]

CODES = "codes.csv"
FACTS = "apply.json"
NAMES = {  # fact -> option
    "weights": "the model",
    "what": "--what",
    "with": "--with",
    "slice": "--slice",
    "window": "--window",
}


@dataclass(frozen=True)
class ResultRow:
    """The row of an image.

    Attributes:
        number: number of the slice, or "" for an image.
        z: common code.
        s: salient code.
        distance: Euclidean distance of s from the blank code.
        change: mean over the pixels of |reconstruction - healed| in [0, 2], if both were made.
    """

    number: int | str
    z: Sequence[float]
    s: Sequence[float]
    distance: float
    change: float | None


class ResultsTable:
    """`codes.csv` of a folder. It appears with its first row.

    Args:
        out: folder of the results.
        facts: the model and the options, for `apply.json`.
        sizes: lengths of z and s.
        sliced: whether rows have the number of a slice.
        changed: whether rows have the change of the image.
        subjects: file -> subject.
    """

    def __init__(
        self,
        out: Path,
        facts: Mapping[str, Any],
        sizes: tuple[int, int],
        sliced: bool,
        changed: bool,
        subjects: Mapping[str, str],
    ) -> None:
        self.out, self.facts, self.subjects = out, facts, subjects
        self._sizes, self._sliced = sizes, sliced
        self._labels = ["file", *["slice"] * sliced]
        self._further = ["subject", "distance", *["change"] * changed]
        self._file: IO[str] | None = None
        self._append = False

    @property
    def continues(self) -> bool:
        """Whether rows of an earlier process are kept."""
        return self._append

    def continue_(self) -> set[str]:
        """Prepares to append to the table of an earlier process.

        A last row that is cut short is dropped, with all rows of its file.

        Returns:
            the files that have rows.

        Raises:
            StudioError: the folder has results that the same command has not made.
        """
        path, facts = self.out / CODES, self.out / FACTS
        if not path.is_file():
            return set()
        self._refuse_others(facts)
        rows = self._read()
        if rows and not path.read_bytes().endswith(b"\n"):
            cut = rows[-1][0]
            rows = [row for row in rows if row[0] != cut]
            self._rewrite(rows)
        self._append = True
        return {row[0] for row in rows}

    def forget_(self, names: set[str]) -> None:
        """Drops the rows of files whose results are gone, because they are made again."""
        if names:
            rows = self._read()
            self._rewrite([row for row in rows if row[0] not in names])

    def write(self, files: Sequence[tuple[str, Sequence[ResultRow]]]) -> None:
        """Writes the rows of some files, so that they are on disk when this returns.

        Raises:
            StudioError: the table cannot be written.
        """
        text = io.StringIO()
        writer = CodesWriter(text, *self._sizes, header=False)
        for name, rows in files:
            for row in rows:
                change = [] if row.change is None else [f"{row.change:.6g}"]
                further = [self.subjects[name], f"{row.distance:.6g}", *change]
                writer.write([name, *[row.number] * self._sliced], row.z, row.s, further)
        path = self.out / CODES
        try:
            file = self._file or self._open()
            file.write(text.getvalue())
            file.flush()
        except OSError as error:
            raise StudioError(f"{path}: cannot be written: {reason_of(error)}") from None

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> list[list[str]]:
        """Returns the rows without the header."""
        path = self.out / CODES
        try:
            text = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StudioError(f"{path}: cannot be continued: {reason_of(error)}") from None
        if not text.startswith(self._header()):
            raise StudioError(f"{path}: cannot be continued: its columns are others")
        return list(csv.reader(io.StringIO(text, newline="")))[1:]

    def _rewrite(self, rows: Sequence[Sequence[str]]) -> None:
        kept = io.StringIO(newline="")
        csv.writer(kept).writerows(rows)
        content = (self._header() + kept.getvalue()).encode()
        write_file(self.out / CODES, lambda partial: partial.write_bytes(content))

    def _open(self) -> IO[str]:
        self.out.mkdir(parents=True, exist_ok=True)
        if not self._append:
            write_json(self.out / FACTS, self.facts)
        mode = "a" if self._append else "w"
        self._file = (self.out / CODES).open(mode, encoding="utf-8", newline="")
        if not self._append:
            self._file.write(self._header())
        return self._file

    def _header(self) -> str:
        text = io.StringIO()
        CodesWriter(text, *self._sizes, self._labels, further=self._further)
        return text.getvalue()

    def _refuse_others(self, path: Path) -> None:
        """Raises an error if another command has made the results."""
        if not path.is_file():
            raise StudioError(
                f"{self.out / CODES}: cannot be continued without {FACTS} beside it; "
                "give another folder, or --force"
            )
        try:
            former = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StudioError(f"{path}: cannot be read: {reason_of(error)}") from None
        for key, name in NAMES.items():
            if former.get(key) != self.facts[key]:
                shown = "" if key == "weights" else f": found {former.get(key)}"
                raise StudioError(
                    f"{self.out}: {name} of the results there is another one{shown}; "
                    "--skip-existing continues the same command only"
                )


def find_subjects(names: Sequence[str], rule: str) -> dict[str, str]:
    """Returns file -> subject, as `folders` finds it from paths (`studio.data.subjects`).

    Args:
        names: files relative to the folder that is read.
        rule: `data.subjects` of the run.
    """
    own = all(name.split("/")[0] in DOMAINS for name in names)
    prefix = "" if own else f"{DOMAINS[1]}/"
    places = read_places([prefix + name for name in names], {}, rule, {})
    return {
        name: places[prefix + name].subject.removeprefix(normalise_name(prefix)) for name in names
    }


def hash_weights(method: Method) -> str:
    """Returns the sha256 of a method's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(method.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
