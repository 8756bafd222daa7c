"""Applying a trained method to a user's own files: codes, and generated copies of the files.

Files are read in the way in which the run's data set reads its own (`studio.data.io.user_files`),
and written back in the same format (`studio.data.io.write_back`). `OUT/KIND/...` has the
sub-folders and names of the input, and `OUT/codes.csv` one row per image. Images are processed in
batches, so memory does not grow with their number. The rows of a batch are written with its files,
so a process that was stopped can be continued (`studio.apply.results`).
"""

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from studio import sampling
from studio.apply.inputs import InputFile, check_places, find_inputs
from studio.apply.options import DIFFERENCE, KINDS, check_reading, choose_intensity, output_kinds
from studio.apply.results import CODES, FACTS, ResultRow, ResultsTable, find_subjects, hash_weights
from studio.apply.scores import SCORES, control_distances, write_scores
from studio.apply.vectors import apply_to_vectors, refuse_options
from studio.atomic import write_file
from studio.data.io.fitting import Fit
from studio.data.io.names import format_lines, join_names
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import ReadingRule, UserFile, read_user_file, reading_rule
from studio.data.io.volume_slices import Slices
from studio.data.io.write_back import write_back
from studio.errors import StudioError
from studio.method import Code
from studio.progress import Advance, show_progress
from studio.runs.run import Run

__all__ = ["CODES", "FACTS", "KINDS", "LoadedInput", "apply", "group_inputs"]

REMEDY = ": give the values of black and white with --window"
USED: dict[Fit, str] = {  # how a file of another size is generated
    "crop": "their square in the middle was generated at {} and resized to its size (bicubic), and "
    "everything outside is unchanged",
    "pad": "the square around them was generated at {}, resized to its size (bicubic) and cropped",
    "squash": "they were generated at {} and resized to their size (bicubic)",
}
REGRIDDED = (
    "their cube was generated and resampled to their voxels (linear), and everything outside of it "
    "or of the brain is unchanged"
)
SLIVER, WIDEST = 0.02, 10.0  # a file that spans less or more of the run's range is noted
BATCH = 128  # images at a time
VALUES = 2**24  # values of all images at a time, for large images
WORKERS, AHEAD = 2, 4  # threads that read and write files, and files that are read ahead


@dataclass(frozen=True, eq=False)
class LoadedInput:
    """A file that was read.

    Attributes:
        file: the file.
        user_file: its images.
        donor: images that give the salient content, one per image of the file or one for all, (n
            or 1, *shape).
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
    chosen: Slices | None = None,
    window: tuple[float, float] | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Encodes files and writes codes and generated copies.

    Args:
        run: a run or an export.
        source: a file, or a folder that is read with its sub-folders.
        out: folder of the results.
        what: one or several of `encode` (codes only), `reconstruct`, `heal`, `swap` and `score`
            (the difference, and `scores.csv` with ranks among the run's held-out controls).
        donors: for `swap`, one file that gives its salient content to all, or a folder of as many
            files as `source`, matched in the order of their names.
        difference: also write |reconstruction - healed|.
        chosen: slice of a volume to read, `all`, or (first, last) or (first, last, step). None: the
            slices that the data set takes.
        window: values that become -1 and 1 in all files. None: those of the data set.
        overwrite: replace existing files.
        skip_existing: continue an earlier call with the same arguments. Files with a row in
            `codes.csv` and all their results are skipped.
        progress: show progress on stderr.

    Returns:
        The report that `studio apply --json` prints: `out`, `codes`, `scores`, `what`, the numbers
        of processed `files` and `images`, `skipped` (number of files that were done before),
        `set_aside` (a list of [file, reason]), `ignored` (number of other files) and `notes`.

    Raises:
        StudioError: an argument is invalid, no file can be used, a result cannot be written, or
            the folder has results that other arguments made.
    """
    if not isinstance(run, Run):
        raise StudioError(f"run: found {type(run).__name__}, expected a Run: Run.open(folder)")
    chosen_kinds = [what] if isinstance(what, str) else what
    kinds = output_kinds(chosen_kinds, donors, difference)
    check_reading(chosen, window)
    if len(run.shape) == 1:
        refuse_options(chosen, window, skip_existing, chosen_kinds)
        return apply_to_vectors(
            run, source, out, chosen_kinds, donors, difference, overwrite, progress
        )
    out = Path(os.path.expanduser(out))
    rule = reading_rule(run.config.data, run.shape, choose_intensity(run, window), chosen, REMEDY)
    inputs, ignored, places = find_inputs(source, donors)
    scored = [SCORES] * ("score" in chosen_kinds)
    results = [
        *(out / name for name in (CODES, *scored)),
        *(out / kind / file.result for kind in kinds for file in inputs),
    ]
    check_places(out, [out / kind for kind in kinds], results, places, overwrite or skip_existing)
    controls = control_distances(run) if scored else None
    processor = _FileProcessor(run, rule, out, kinds, chosen is not None)
    config = run.config.method
    facts = {
        **run.describe(),
        "weights": hash_weights(run.method),
        "what": kinds,
        "with": None if donors is None else str(donors),
        "slice": [*chosen] if isinstance(chosen, tuple) else chosen,
        "window": None if window is None else [float(value) for value in window],
    }
    subjects = find_subjects(
        [file.name for file in inputs], getattr(run.config.data, "subjects", "auto")
    )
    table = ResultsTable(
        out, facts, (config.z, config.s), processor.several, processor.changes, subjects
    )
    done = table.continue_() if skip_existing else set()
    pending = [file for file in inputs if not _is_done(file, done, out, kinds)]
    table.forget_(done.intersection(file.name for file in pending))
    with show_progress("apply", len(pending), "files", progress) as advance:
        processor.process(pending, table, advance)
    if controls is not None:
        write_scores(out / CODES, controls)
    return {
        **run.describe(),
        "out": str(out),
        "codes": str(out / CODES),
        "scores": str(out / SCORES) if scored else None,
        "what": kinds,
        "files": processor.files,
        "images": processor.images,
        "skipped": len(inputs) - len(pending),
        "set_aside": [list(pair) for pair in processor.set_aside],
        "ignored": ignored,
        "notes": processor.notes(),
    }


def _is_done(file: InputFile, done: set[str], out: Path, kinds: Sequence[str]) -> bool:
    """Returns whether a file has its row and all its results."""
    return file.name in done and all((out / kind / file.result).is_file() for kind in kinds)


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
        self.several = rule.several
        self.files = self.images = self.resized = self.partial = self.volumes = 0
        self.odd: list[str] = []  # files whose values do not fit the run's range
        self.set_aside: list[tuple[str, str]] = []
        self._donors: dict[Path, np.ndarray | str] = {}

    @property
    def changes(self) -> bool:
        """Whether the change of each image is known, because it is healed."""
        return bool({"heal", DIFFERENCE}.intersection(self.kinds))

    def process(self, inputs: Sequence[InputFile], table: ResultsTable, advance: Advance) -> None:
        """Processes every file and writes the codes.

        Args:
            inputs: the files.
            table: of the codes.
            advance: is called with the number of files that are done.

        Raises:
            StudioError: no file can be used, or a result cannot be written.
        """
        images = max(1, min(BATCH, VALUES // math.prod(self.run.shape)))
        try:
            with ThreadPoolExecutor(WORKERS) as pool:
                for batch in group_inputs(self._load(inputs, pool, advance), images):
                    self._process_batch(batch, table, pool)
                    advance(len(batch))
        finally:
            table.close()
        if inputs and not self.files and not table.continues:
            if len(inputs) == 1:
                raise StudioError(f"{inputs[0].path} {self.set_aside[0][1]}")
            lines = [f"{name} {reason}" for name, reason in self.set_aside]
            raise StudioError(f"none of {len(inputs)} files can be used{format_lines(lines)}")

    def notes(self) -> list[str]:
        """Returns facts about the written files that a user should know."""
        side, volumes = self.run.shape[1], len(self.run.shape) == 4
        notes = []
        if self.resized and self.kinds and volumes:
            notes.append(f"{self.resized} of {self.files} files have another grid: {REGRIDDED}")
        elif self.resized and self.kinds:
            notes.append(
                f"{self.resized} of {self.files} files are not {side} x {side}: "
                + USED[self.rule.fit].format(f"{side} x {side}")
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

    def _load(
        self, inputs: Sequence[InputFile], pool: ThreadPoolExecutor, advance: Advance
    ) -> Iterator[LoadedInput]:
        """Yields the files that can be read, and sets the others aside."""
        waiting: deque[tuple[InputFile, Future[UserFile]]] = deque()
        left = iter(inputs)
        while True:
            while len(waiting) < AHEAD and (file := next(left, None)) is not None:
                waiting.append((file, pool.submit(read_user_file, file.path, self.rule)))
            if not waiting:
                return
            file, reading = waiting.popleft()
            try:
                user_file = reading.result()
                yield LoadedInput(file, user_file, self._donor(file, len(user_file.images)))
            except UnreadableError as error:
                self.set_aside.append((file.name, str(error)))
                advance(1)

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

    def _process_batch(
        self, batch: Sequence[LoadedInput], table: ResultsTable, pool: ThreadPoolExecutor
    ) -> None:
        """Encodes a batch of files, and writes its generated copies and its codes."""
        method = self.run.method
        images = np.concatenate([loaded.user_file.images for loaded in batch])
        code = sampling.encode(method, torch.from_numpy(images))
        if not all(torch.isfinite(part).all() for part in code):
            raise StudioError(
                f"{batch[0].file.path} to {batch[-1].file.path}: a code holds NaN or infinity"
            )
        blank = sampling.blank(method, len(code.s))
        generated, change = self._generate(batch, code, blank)
        distance = torch.linalg.vector_norm(code.s - blank, dim=1)
        ends = np.cumsum([len(loaded.user_file.images) for loaded in batch])
        spans = [
            slice(end - len(loaded.user_file.images), end)
            for loaded, end in zip(batch, ends, strict=True)
        ]
        faults = pool.map(
            lambda loaded, span: self._write(loaded, {k: v[span] for k, v in generated.items()}),
            batch,
            spans,
        )
        written: list[tuple[str, list[ResultRow]]] = []
        for loaded, span, fault in zip(batch, spans, faults, strict=True):
            if fault is not None:
                self.set_aside.append((loaded.file.name, fault))
                continue
            self._count(loaded)
            numbers = loaded.user_file.numbers or ("",)
            values = code.z[span], code.s[span], distance[span]
            changes = [None] * len(numbers) if change is None else change[span].tolist()
            rows = zip(numbers, *(part.tolist() for part in values), changes, strict=True)
            written.append((loaded.file.name, [ResultRow(*row) for row in rows]))
        table.write(written)

    def _generate(
        self, batch: Sequence[LoadedInput], code: Code, blank: torch.Tensor
    ) -> tuple[dict[str, np.ndarray], torch.Tensor | None]:
        """Returns kind -> images (n, C, R, R), and the change of each image, if it is healed."""
        method = self.run.method
        generated: dict[str, torch.Tensor] = {}
        change = None
        if "swap" in self.kinds:
            donors = [
                np.broadcast_to(loaded.donor, loaded.user_file.images.shape)
                for loaded in batch
                if loaded.donor is not None
            ]
            salient = sampling.encode(method, torch.from_numpy(np.concatenate(donors))).s
            generated["swap"] = sampling.decode(method, Code(code.z, salient))
        if self.changes or "reconstruct" in self.kinds:
            generated["reconstruct"] = sampling.decode(method, code)
        if self.changes:
            generated["heal"] = sampling.decode(method, Code(code.z, blank))
            generated[DIFFERENCE] = (generated["reconstruct"] - generated["heal"]).abs()
            change = generated[DIFFERENCE].flatten(1).mean(1)
        made = {kind: images.numpy() for kind, images in generated.items() if kind in self.kinds}
        return made, change

    def _write(self, loaded: LoadedInput, results: dict[str, np.ndarray]) -> str | None:
        """Writes the generated copies of a file. Returns why that is not possible, or None."""
        try:
            for kind, images in results.items():
                write_file(
                    self.out / kind / loaded.file.result,
                    lambda partial, kind=kind, images=images: write_back(
                        loaded.user_file, images, partial, kind == DIFFERENCE
                    ),
                )
        except UnreadableError as error:
            return str(error)
        return None

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
