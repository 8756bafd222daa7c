"""Applying a trained method to a user's own files: codes, and generated copies of the files.

Files are read in the way in which the run's data set reads its own (`studio.data.io.user_files`),
and written back in the same format (`studio.data.io.write_back`). `OUT/KIND/...` has the
sub-folders and names of the input, and `OUT/codes.csv` one row per image. Images are processed in
batches, so memory does not grow with their number.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from studio import sampling
from studio.apply_inputs import InputFile, check_places, find_inputs
from studio.arguments import check_whole_number
from studio.atomic import write_file
from studio.codes_table import CodesWriter
from studio.data.brats.config import BratsConfig
from studio.data.intensity import Intensity
from studio.data.io.names import format_lines, join_names
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import ReadingRule, UserFile, read_user_file, reading_rule
from studio.data.io.write_back import write_back
from studio.errors import StudioError, nearest
from studio.method import Code
from studio.runs.run import Run

__all__ = ["CODES", "KINDS", "LoadedInput", "apply", "group_inputs"]

KINDS = ("encode", "reconstruct", "heal", "swap")
DIFFERENCE = "difference"  # |reconstruction - healed|
CODES = "codes.csv"
REMEDY = ": give the values of black and white with --window"
SLIVER, WIDEST = 0.02, 10.0  # a file that spans less or more of the run's range is noted
BATCH = 128  # images at a time


@dataclass(frozen=True, eq=False)
class LoadedInput:
    """A file that was read.

    Attributes:
        file: the file.
        user_file: its images.
        donor: images that give the salient content, one per image of the file or one for all, (n
            or 1, C, R, R).
    """

    file: InputFile
    user_file: UserFile
    donor: np.ndarray | None


def apply(
    run: Run,
    source: str | Path,
    out: str | Path,
    what: str | Sequence[str] = ("heal",),
    donors: str | Path | None = None,
    difference: bool = False,
    chosen: int | Literal["middle", "all"] | None = None,
    window: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Encodes files and writes codes and generated copies.

    Args:
        run: a run or an export.
        source: a file, or a folder that is read with its sub-folders.
        out: folder of the results.
        what: one or several of `encode` (codes only), `reconstruct`, `heal` and `swap`.
        donors: for `swap`, one file that gives its salient content to all, or a folder of as many
            files as `source`, matched in the order of their names.
        difference: also write |reconstruction - healed|.
        chosen: slice of a volume to read, or `all`. None: the slices that the data set takes.
        window: values that become -1 and 1 in all files. None: those of the data set.
        overwrite: replace existing files.

    Returns:
        The report that `studio apply --json` prints: `out`, `codes`, `what`, the numbers of
        processed `files` and `images`, `set_aside` (a list of [file, reason]), `ignored` (number
        of other files) and `notes`.

    Raises:
        StudioError: an argument is invalid, no file can be used, or a result cannot be written.
    """
    if not isinstance(run, Run):
        raise StudioError(f"run: found {type(run).__name__}, expected a Run: Run.open(folder)")
    kinds = _output_kinds([what] if isinstance(what, str) else what, donors, difference)
    _check_reading(chosen, window)
    out = Path(os.path.expanduser(out))
    rule = reading_rule(run.config.data, run.shape, _intensity(run, window), chosen, REMEDY)
    inputs, ignored, places = find_inputs(source, donors)
    results = [out / CODES, *(out / kind / file.name for kind in kinds for file in inputs)]
    check_places(out, [out / kind for kind in kinds], results, places, overwrite)
    processor = _FileProcessor(run, rule, out, kinds, chosen is not None)
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
    """Processes the files in one pass and counts them.

    Args:
        run: a run or an export.
        rule: how files are read.
        out: folder of the results.
        kinds: kinds of files to write.
        sliced: whether a slice was asked for.

    Attributes:
        files: number of processed files.
        images: number of processed images.
        set_aside: (file, reason) for each file that cannot be used.
    """

    def __init__(
        self, run: Run, rule: ReadingRule, out: Path, kinds: Sequence[str], sliced: bool
    ) -> None:
        self.run, self.rule, self.out, self.kinds, self.sliced = run, rule, out, kinds, sliced
        # Whether a file may give several images.
        self.several = rule.chosen == "all" or rule.cutting is not None
        self.files = self.images = self.resized = self.partial = self.volumes = 0
        self.odd: list[str] = []  # files whose values do not fit the run's range
        self.set_aside: list[tuple[str, str]] = []
        self._donors: dict[Path, np.ndarray | str] = {}

    def process(self, inputs: Sequence[InputFile], codes: Path) -> None:
        """Processes every file and writes the codes.

        Args:
            inputs: the files.
            codes: the CSV file of the codes.

        Raises:
            StudioError: no file can be used, or a result cannot be written.
        """
        with codes.open("w", encoding="utf-8", newline="") as table:
            method = self.run.config.method
            labels = ["file", *["slice"] * self.several]
            codes_table = CodesWriter(table, method.z, method.s, labels)
            for batch in group_inputs(self._load(inputs), BATCH):
                self._process_batch(batch, codes_table)
        if not self.files:
            if len(inputs) == 1:
                raise StudioError(f"{inputs[0].path} {self.set_aside[0][1]}")
            lines = [f"{name} {reason}" for name, reason in self.set_aside]
            raise StudioError(f"none of {len(inputs)} files can be used{format_lines(lines)}")

    def notes(self) -> list[str]:
        """Returns facts about the written files that a user should know."""
        side = self.run.shape[1]
        notes = []
        if self.resized and self.kinds:
            notes.append(
                f"{self.resized} of {self.files} files are not {side} x {side}: their square in "
                f"the middle was generated at {side} x {side} and resized to its size (bicubic), "
                "and everything outside is unchanged"
            )
        if self.partial:
            notes.append(
                f"{self.partial} volumes: only some slices were read, the others are unchanged. "
                "--slice all takes every slice."
            )
        if self.sliced and not self.volumes:
            notes.append("--slice has no effect: no file is a volume.")
        if self.odd:
            notes.append(
                f"{len(self.odd)} of {self.files} files have values of another size than the "
                f"images of the run ({self.rule.intensity.describe()}): {join_names(self.odd)}. "
                "If their unit is another one, --window gives their values of black and white."
            )
        if self.rule.intensity.rule == "per_file":
            notes.append(
                "an older studio trained this run: 8-bit files have the range 0 to 255, others "
                "its window"
            )
        return notes

    def _load(self, inputs: Sequence[InputFile]) -> Iterator[LoadedInput]:
        """Yields the files that can be read, and sets the others aside."""
        for file in inputs:
            try:
                user_file = read_user_file(file.path, self.rule)
                yield LoadedInput(file, user_file, self._donor(file, len(user_file.images)))
            except UnreadableError as error:
                self.set_aside.append((file.name, str(error)))

    def _donor(self, file: InputFile, images: int) -> np.ndarray | None:
        """Returns the donor's images for a file with this number of images, or None."""
        if file.donor is None:
            return None
        if file.donor not in self._donors:
            self._donors.clear()  # one donor serves all files, or each serves one
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
        """Encodes a batch of files, and writes its codes and its generated copies."""
        method = self.run.method
        images = np.concatenate([loaded.user_file.images for loaded in batch])
        code = sampling.encode(method, torch.from_numpy(images))
        if not all(torch.isfinite(part).all() for part in code):
            raise StudioError(
                f"{batch[0].file.path} to {batch[-1].file.path}: a code holds NaN or infinity"
            )
        generated = self._generate(batch, code)
        ends = np.cumsum([len(loaded.user_file.images) for loaded in batch])
        for loaded, end in zip(batch, ends, strict=True):
            rows = slice(end - len(loaded.user_file.images), end)
            try:
                for kind, results in generated.items():
                    self._write(loaded, kind, results[rows])
            except UnreadableError as error:
                self.set_aside.append((loaded.file.name, str(error)))
                continue
            self._count(loaded)
            numbers = [
                [number] if self.several else [] for number in loaded.user_file.numbers or ("",)
            ]
            for number, z, s in zip(
                numbers, code.z[rows].tolist(), code.s[rows].tolist(), strict=True
            ):
                codes.write([loaded.file.name, *number], z, s)

    def _generate(self, batch: Sequence[LoadedInput], code: Code) -> dict[str, np.ndarray]:
        """Returns kind -> images (n, C, R, R)."""
        method = self.run.method
        blank = sampling.blank(method, len(code.z))
        generated: dict[str, torch.Tensor] = {}
        if "swap" in self.kinds:
            donors = [
                np.broadcast_to(loaded.donor, loaded.user_file.images.shape)
                for loaded in batch
                if loaded.donor is not None
            ]
            salient = sampling.encode(method, torch.from_numpy(np.concatenate(donors))).s
            generated["swap"] = sampling.decode(method, Code(code.z, salient))
        if {"reconstruct", DIFFERENCE}.intersection(self.kinds):
            generated["reconstruct"] = sampling.decode(method, code)
        if {"heal", DIFFERENCE}.intersection(self.kinds):
            generated["heal"] = sampling.decode(method, Code(code.z, blank))
        if DIFFERENCE in self.kinds:
            generated[DIFFERENCE] = (generated["reconstruct"] - generated["heal"]).abs()
        return {kind: images.numpy() for kind, images in generated.items() if kind in self.kinds}

    def _write(self, loaded: LoadedInput, kind: str, results: np.ndarray) -> None:
        path = self.out / kind / loaded.file.name
        write_file(
            path, lambda partial: write_back(loaded.user_file, results, partial, kind == DIFFERENCE)
        )

    def _count(self, loaded: LoadedInput) -> None:
        user_file = loaded.user_file
        self.files += 1
        fits = SLIVER < user_file.spread < WIDEST or self.rule.intensity.rule == "per_image"
        if not fits:
            self.odd.append(loaded.file.name)
        self.images += len(user_file.images)
        self.volumes += user_file.slices > 0
        self.resized += user_file.size != self.run.shape[1:]
        self.partial += len(user_file.numbers) < user_file.slices and self.rule.chosen != "all"


def group_inputs(loaded: Iterator[LoadedInput], images: int) -> Iterator[list[LoadedInput]]:
    """Yields groups of consecutive files that have at least `images` images together."""
    batch: list[LoadedInput] = []
    for one in loaded:
        batch.append(one)
        if sum(len(each.user_file.images) for each in batch) >= images:
            yield batch
            batch = []
    if batch:
        yield batch


def _output_kinds(what: Sequence[str], donors: str | Path | None, difference: bool) -> list[str]:
    """Returns the kinds of files to write, i.e. the names of their folders."""
    for kind in what:
        if kind not in KINDS:
            raise StudioError(f"--what {kind}: no such kind{nearest(kind, KINDS)}")
    if ("swap" in what) != (donors is not None):
        missing = (
            "needs --with, the image that gives its salient content"
            if donors is None
            else "missing, but --with is given"
        )
        raise StudioError(f"--what swap: {missing}")
    return [*(kind for kind in dict.fromkeys(what) if kind != "encode"), *[DIFFERENCE] * difference]


def _check_reading(
    chosen: int | Literal["middle", "all"] | None, window: tuple[float, float] | None
) -> None:
    """Refuses a slice or a window that is none."""
    if chosen is not None and chosen not in ("middle", "all"):
        check_whole_number("chosen", chosen, 0)
    if window is None:
        return
    values = np.asarray(window, np.float64).ravel()
    if len(values) != 2 or not np.isfinite(values).all() or not values[0] < values[1]:
        raise StudioError(f"window: found {window}, expected two finite numbers, low below high")


def _intensity(run: Run, window: tuple[float, float] | None) -> Intensity:
    """Returns the rule of intensity of the run, or the given window for all files."""
    if window is None:
        return run.intensity
    if isinstance(run.config.data, BratsConfig):
        raise StudioError("--window: this run takes percentiles of each volume, so it has no use")
    return Intensity("window", window)
