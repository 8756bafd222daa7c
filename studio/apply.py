"""A user's own files through a trained method: codes, and files of the same kind healed, rebuilt or with swapped content.

Files are read as the run's data set reads its own (`studio.data.io.user_files`) and written back in kind (`studio.data.io.write_back`):
`OUT/KIND/...` has the sub-folders and names of the file, and `OUT/codes.csv` a row per image. Images go through in batches,
so memory does not grow with their number.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from studio import sampling
from studio.atomic import write_file
from studio.codes_table import CodesWriter
from studio.data.folders import Folders, FoldersConfig
from studio.data.io.files import check_listable, find_images
from studio.data.io.images import FORMATS, is_image
from studio.data.io.names import format_lines
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import ReadingRule, UserFile, read_user_file, reading_rule
from studio.data.io.write_back import write_back
from studio.errors import StudioError, nearest
from studio.method import Code
from studio.runs.run import Run

__all__ = ["CODES", "KINDS", "apply"]

KINDS = ("encode", "reconstruct", "heal", "swap")
DIFFERENCE = "difference"  # |reconstruction - healed|
CODES = "codes.csv"
BATCH = 128  # images at a time
EXPECTED = "a file or a folder with png, jpg, npy, nii or nii.gz files"


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        name: relative to the file's folder.
        path: of the file.
        donor: the file whose salient content it gets, if any.
    """

    name: str
    path: Path
    donor: Path | None


@dataclass(frozen=True, eq=False)
class LoadedInput:
    """A file with what was read for it; the donor has one image per image of the file, or one for all."""

    file: InputFile
    sheet: UserFile
    donor: np.ndarray | None


def apply(
    run: Run,
    source: str | Path,
    out: str | Path,
    what: Sequence[str] = ("heal",),
    donors: str | Path | None = None,
    difference: bool = False,
    chosen: int | Literal["middle", "all"] | None = None,
    window: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Encodes files, and writes what becomes of them.

    Args:
        run: a run or an export.
        source: a file, or a folder whose sub-folders are read as well.
        out: a folder.
        what: `encode` (codes alone), `reconstruct`, `heal` or `swap`; several at once if wanted.
        donors: for `swap`, a file whose salient content all get, or a folder of as many files as `source`, taken in the
            order of their names.
        difference: also write |reconstruction - healed|.
        chosen: slice of a volume to read, or `all`; by default what the data set takes.
        window: values that become -1 and 1 in files that are not 8-bit; by default the data set's.
        overwrite: replace files that exist.

    Returns:
        what was done, as `studio apply --json` prints it: `out`, `codes`, `what`, `files` and `images` that went through,
        `set_aside` ([file, reason] each), `ignored` (other files) and `notes`.

    Raises:
        StudioError: an argument is at fault, no file can be used, or something cannot be written.
    """
    kinds = _output_kinds(what, donors, difference)
    out = Path(os.path.expanduser(out))
    rule = reading_rule(run.config.data, run.shape, _window_rule(run, window), chosen)
    inputs, ignored, places = _find_inputs(source, donors)
    _check_places(out, kinds, inputs, places, overwrite)
    processor = _FileProcessor(run, rule, out, kinds)
    write_file(out / CODES, lambda partial: processor.process(inputs, partial))
    return {
        **run.describe(),
        "out": str(out),
        "codes": str(out / CODES),
        "what": kinds,
        "files": processor.files,
        "images": processor.images,
        "set_aside": [list(pair) for pair in processor.set_aside],
        "ignored": ignored,
        "notes": processor.notes(),
    }


class _FileProcessor:
    """One pass over the files; counts what it does."""

    def __init__(self, run: Run, rule: ReadingRule, out: Path, kinds: Sequence[str]) -> None:
        self.run, self.rule, self.out, self.kinds = run, rule, out, kinds
        self.several = (
            rule.chosen == "all" or rule.cutting is not None
        )  # whether a file may give several images
        self.files = self.images = self.resized = self.partly = 0
        self.set_aside: list[tuple[str, str]] = []
        self._donors: dict[Path, np.ndarray | str] = {}

    def process(self, inputs: Sequence[InputFile], codes: Path) -> None:
        """Takes every file through, and writes the codes.

        Raises:
            StudioError: no file can be used, or one cannot be written.
        """
        with codes.open("w", encoding="utf-8", newline="") as table:
            method = self.run.config.method
            labels = ["file", *["slice"] * self.several]
            codes_table = CodesWriter(table, method.z, method.s, labels)
            for batch in _batches(self._loaded(inputs)):
                self._process_batch(batch, codes_table)
        if not self.files:
            if len(inputs) == 1:
                raise StudioError(f"{inputs[0].path} {self.set_aside[0][1]}")
            lines = [f"{name} {reason}" for name, reason in self.set_aside]
            raise StudioError(f"none of {len(inputs)} files can be used{format_lines(lines)}")

    def notes(self) -> list[str]:
        """Says what a user should know of the files that were written."""
        side = self.run.shape[1]
        notes = []
        if self.resized and self.kinds:
            notes.append(
                f"{self.resized} of {self.files} files are not {side} x {side}: their square in the middle is what was made "
                f"at {side} x {side} and brought to its size (bicubic), and what is outside it is as it was"
            )
        if self.partly:
            notes.append(
                f"{self.partly} volumes: only some slices were read, the others are as they were; --slice all takes every one"
            )
        return notes

    def _loaded(self, inputs: Sequence[InputFile]) -> Iterator[LoadedInput]:
        for file in inputs:
            try:
                sheet = read_user_file(file.path, self.rule)
                yield LoadedInput(file, sheet, self._donor(file, len(sheet.images)))
            except UnreadableError as error:
                self.set_aside.append((file.name, str(error)))

    def _donor(self, file: InputFile, images: int) -> np.ndarray | None:
        if file.donor is None:
            return None
        if file.donor not in self._donors:
            self._donors.clear()  # either one for all, or each for one
            try:
                self._donors[file.donor] = read_user_file(file.donor, self.rule).images
            except UnreadableError as error:
                self._donors[file.donor] = str(error)
        found = self._donors[file.donor]
        if isinstance(found, str):
            raise UnreadableError(f"has no salient content to take: {file.donor} {found}")
        if len(found) not in (1, images):
            raise UnreadableError(f"has {images} slices, and {file.donor} has {len(found)}")
        return found

    def _process_batch(self, batch: Sequence[LoadedInput], codes: CodesWriter) -> None:
        method = self.run.method
        images = np.concatenate([loaded.sheet.images for loaded in batch])
        code = sampling.encode(method, torch.from_numpy(images))
        if not all(torch.isfinite(part).all() for part in code):
            raise StudioError(
                f"{batch[0].file.path} to {batch[-1].file.path}: a code holds NaN or infinity"
            )
        made = self._generate(batch, code)
        ends = np.cumsum([len(loaded.sheet.images) for loaded in batch])
        for loaded, end in zip(batch, ends, strict=True):
            rows = slice(end - len(loaded.sheet.images), end)
            try:
                for kind, results in made.items():
                    self._write(loaded, kind, results[rows])
            except UnreadableError as error:
                self.set_aside.append((loaded.file.name, str(error)))
                continue
            self._count(loaded.sheet)
            numbers = [[number] if self.several else [] for number in loaded.sheet.numbers or ("",)]
            for number, z, s in zip(
                numbers, code.z[rows].tolist(), code.s[rows].tolist(), strict=True
            ):
                codes.write([loaded.file.name, *number], z, s)

    def _generate(self, batch: Sequence[LoadedInput], code: Code) -> dict[str, np.ndarray]:
        """Returns kind -> images (n, C, R, R)."""
        method = self.run.method
        blank = sampling.blank(method, len(code.z))
        made: dict[str, torch.Tensor] = {}
        if "swap" in self.kinds:
            donors = [
                np.broadcast_to(loaded.donor, loaded.sheet.images.shape)
                for loaded in batch
                if loaded.donor is not None
            ]
            salient = sampling.encode(method, torch.from_numpy(np.concatenate(donors))).s
            made["swap"] = sampling.decode(method, Code(code.z, salient))
        if {"reconstruct", DIFFERENCE}.intersection(self.kinds):
            made["reconstruct"] = sampling.decode(method, code)
        if {"heal", DIFFERENCE}.intersection(self.kinds):
            made["heal"] = sampling.decode(method, Code(code.z, blank))
        if DIFFERENCE in self.kinds:
            made[DIFFERENCE] = (made["reconstruct"] - made["heal"]).abs()
        return {kind: images.numpy() for kind, images in made.items() if kind in self.kinds}

    def _write(self, loaded: LoadedInput, kind: str, results: np.ndarray) -> None:
        path = self.out / kind / loaded.file.name
        write_file(
            path, lambda partial: write_back(loaded.sheet, results, partial, kind == DIFFERENCE)
        )

    def _count(self, sheet: UserFile) -> None:
        self.files += 1
        self.images += len(sheet.images)
        self.resized += sheet.size != self.run.shape[1:]
        self.partly += len(sheet.numbers) < sheet.slices and self.rule.chosen != "all"


def _batches(loaded: Iterator[LoadedInput]) -> Iterator[list[LoadedInput]]:
    batch: list[LoadedInput] = []
    for one in loaded:
        batch.append(one)
        if sum(len(each.sheet.images) for each in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _output_kinds(what: Sequence[str], donors: str | Path | None, difference: bool) -> list[str]:
    """Returns which folders of files to write."""
    for kind in what:
        if kind not in KINDS:
            raise StudioError(f"--what {kind}: no such thing to do{nearest(kind, KINDS)}")
    if ("swap" in what) != (donors is not None):
        missing = (
            "needs --with, whose salient content to take"
            if donors is None
            else "not asked for, and --with is for nothing else"
        )
        raise StudioError(f"--what swap: {missing}")
    return [*(kind for kind in dict.fromkeys(what) if kind != "encode"), *[DIFFERENCE] * difference]


def _window_rule(run: Run, given: tuple[float, float] | None) -> Callable[[], tuple[float, float]]:
    """Returns what says the window of files that are not 8-bit: the given one, or that of the run's own images."""

    @cache
    def found() -> tuple[tuple[float, float] | None, str]:
        config = run.config.data
        if given is not None:
            return given, ""
        if not isinstance(config, FoldersConfig):
            return None, f"all images of {config.name} are"
        if config.window != "auto":
            return config.window, ""
        try:
            data = run.data
        except StudioError as error:
            return None, f"the window of the run's images cannot be found ({error})"
        assert isinstance(data, Folders)
        return (data.window, "") if data.deep else (None, "all images of the run are")

    def window() -> tuple[float, float]:
        value, why = found()
        if value is None:
            raise UnreadableError(
                f"is not 8-bit, and {why}: say with --window what is black and what is white"
            )
        return value

    return window


def _find_inputs(
    source: str | Path, donors: str | Path | None
) -> tuple[list[InputFile], int, list[Path]]:
    """Returns the files, how many others were passed over, and the folders or files that must not be written to."""
    root, names, ignored = _find_files(source, "IN")
    places = [Path(os.path.expanduser(source))]
    if donors is None:
        return [InputFile(name, root / name, None) for name in names], ignored, places
    place, found, _ = _find_files(donors, "--with")
    places.append(Path(os.path.expanduser(donors)))
    if len(found) not in (1, len(names)):
        raise StudioError(
            f"--with {donors}: has {len(found)} images for the {len(names)} of {source}: expected one, or as many"
        )
    partners = found * len(names) if len(found) == 1 else found
    return (
        [
            InputFile(name, root / name, place / partner)
            for name, partner in zip(names, partners, strict=True)
        ],
        ignored,
        places,
    )


def _find_files(source: str | Path, option: str) -> tuple[Path, list[str], int]:
    path = Path(os.path.expanduser(source))
    if path.is_file():
        if not is_image(path.name):
            raise StudioError(f"{option} {path}: expected a name that ends in {', '.join(FORMATS)}")
        return path.parent, [path.name], 0
    if not path.exists():
        raise StudioError(f"{option} {path}: no such file or folder; expected {EXPECTED}")
    names, others = find_images(check_listable(str(source), option, EXPECTED))
    if not names:
        raise StudioError(
            f"{option} {path}: no images in it ({len(others)} other files); expected {EXPECTED}"
        )
    return path, names, len(others)


def _check_places(
    out: Path,
    kinds: Sequence[str],
    inputs: Sequence[InputFile],
    places: Sequence[Path],
    overwrite: bool,
) -> None:
    """Refuses to write into or over what is read, and over what exists."""
    if out.exists() and not out.is_dir():
        raise StudioError(f"OUT {out}: a file, expected a folder")
    own, made = out.resolve(), [(out / kind).resolve() for kind in kinds]
    for place in places:
        given = place.resolve()
        if own == given or (given.is_dir() and own.is_relative_to(given)):
            raise StudioError(
                f"OUT {out}: lies in {place}, which is read: give a folder outside it"
            )
        if any(given.is_relative_to(folder) or folder.is_relative_to(given) for folder in made):
            raise StudioError(
                f"OUT {out}: {place} lies where files would be written: give another folder"
            )
    if overwrite:
        return
    wanted = [out / CODES, *(out / kind / file.name for kind in kinds for file in inputs)]
    there = [path for path in wanted if os.path.lexists(path)]
    if there:
        raise StudioError(
            f"{there[0]}: exists{f', and {len(there) - 1} more' * (len(there) > 1)}; --force replaces files"
        )
