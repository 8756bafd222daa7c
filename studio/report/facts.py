"""The facts of one run that a report shows: from its directory, its method and its data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from studio.config import Config
from studio.data.captions import hide_names
from studio.data.dataset import Dataset
from studio.errors import StudioError, warn
from studio.evaluate.score import read_scores
from studio.evaluate.score_table import heading, score_cells, score_lines
from studio.evaluate.verdict import is_linear_only
from studio.method import DOMAINS, Method
from studio.progress import mark_step
from studio.render.animation import Animation, animate, checkpoint_painter
from studio.render.curves import draw_curves
from studio.render.registry import ON_DEMAND, PICTURES, WITHOUT_DATA, draw_pictures
from studio.render.selection import DataDescription, describe_data
from studio.report.analysis import read_analysis
from studio.runs import checkpoint
from studio.runs.log import read_log
from studio.runs.probe_file import read_probe
from studio.runs.run import Run

__all__ = [
    "Facts",
    "collect",
    "collect_run",
    "make_private_",
    "measure_duration",
    "read_valid_scores",
]

LINEAR_ONLY = (
    "an older studio measured probe.json without the non-linear reader, so the verdicts rest on "
    "the linear one alone: studio probe RUN measures both"
)


@dataclass
class Facts:
    """One run, as a report shows it.

    Attributes:
        folder: the run's directory.
        config: the resolved config.
        images_seen: images seen at the checkpoint.
        paper: citation of the method.
        parameters: number of parameters of all nets.
        shape: shape of the images.
        sizes: (split, domain) -> number of images.
        notes: remarks of the data set and the method.
        environment: manifest of the checkpoint.
        seconds: duration of the training. None if the log does not contain it.
        probe: content of `probe.json`, or None.
        scores: entries of `score.json` that were measured on these data, each with its rows.
        pictures: kind -> picture.
        animation: of the training, or None.
        analysis: content of `analysis.json`, or None.
        private: whether pictures that show an image of the data are left out.
        missing: name of a missing part -> reason.
        changes: differences of the data from those of the training, "" if there are none.
    """

    folder: Path
    config: Config
    images_seen: int
    paper: str
    parameters: int
    shape: tuple[int, ...]
    sizes: dict[tuple[str, str], int]
    notes: list[str]
    environment: dict[str, Any]
    seconds: float | None
    probe: dict[str, Any] | None = None
    scores: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, Image.Image] = field(default_factory=dict)
    animation: Animation | None = None
    analysis: dict[str, Any] | None = None
    private: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    changes: str = ""


def make_private_(facts: Facts) -> None:
    """Removes every picture that shows an image of the data, or one decoded from its codes."""
    facts.private = True
    kept = (*WITHOUT_DATA, "curves")
    facts.pictures = {kind: facts.pictures[kind] for kind in kept if kind in facts.pictures}
    facts.animation = None
    facts.missing["training"] = "left out by --private"


def collect_run(
    run: Run, *, with_probe: bool = True, averaged: bool = True, names: bool = True
) -> Facts:
    """Collects the facts of an opened run.

    Its data are opened. If that fails and `with_probe` is off, the facts are those that need none.

    Args:
        run: the run.
        with_probe: see `collect`.
        averaged: see `collect`.
        names: whether files and subjects may be named.

    Raises:
        StudioError: the data cannot be opened.
    """
    here = (run.folder, run.config, run.method)
    try:
        dataset = run.data
    except StudioError as error:
        if with_probe:
            raise StudioError(f"{error}\n--no-probe writes the report without the data") from None
        facts = collect(*here, describe_data(run), run.images_seen, False, averaged)
        facts.missing["data"] = str(error).splitlines()[0]
        return facts
    if not names:
        dataset.show_names = False
    return collect(
        *here,
        dataset,
        run.images_seen,
        with_probe,
        averaged,
        data_sha256=run.data_sha256,
        changes=run.data_changes,
    )


def collect(
    folder: Path,
    config: Config,
    method: Method,
    dataset: Dataset | DataDescription,
    images_seen: int,
    with_probe: bool = True,
    averaged: bool = True,
    *,
    pictures: Mapping[str, Image.Image] | None = None,
    data_sha256: str | None = None,
    changes: str = "",
) -> Facts:
    """Collects the facts of a run.

    `probe.json` is used if it belongs to the same checkpoint and the same data, and has both
    readers. Otherwise the codes are probed again. Nothing is written.

    Args:
        folder: the run's directory.
        config: the config.
        method: in eval mode, as it was after `images_seen` images.
        dataset: data set of the run, or its description if the data cannot be opened.
        images_seen: number of the checkpoint.
        with_probe: whether to probe the codes if `probe.json` cannot be used.
        averaged: whether the method has its averaged weights, to which `probe.json` and the grids
            of the training belong.
        pictures: pictures that have just been drawn. None draws all of them.
        data_sha256: hash of the data. None takes `probe.json` and `score.json` as they are.
        changes: differences of the data from those of the training.
    """
    here = {found.images_seen: found for found in checkpoint.every(folder)}
    facts = Facts(
        folder,
        config,
        images_seen,
        method.paper,
        sum(p.numel() for p in method.parameters()),
        tuple(dataset.shape),
        {
            (split, domain): dataset.size(split, domain)
            for split, domain in product(("train", "test"), DOMAINS)
        }
        if isinstance(dataset, Dataset)
        else {},
        [
            *(hide_names(dataset, dataset.notes()) if isinstance(dataset, Dataset) else []),
            *method.notes(),
        ],
        here[images_seen].verify() if images_seen in here else {},
        None,
        changes=changes,
    )
    _read_scores_of(facts, data_sha256)
    if changes:
        note = f"the data differ from those of the training: {changes}"
        known = isinstance(dataset, Dataset)
        facts.notes[:0] = hide_names(dataset, [note]) if known else [note]
    facts.analysis = read_analysis(folder, images_seen) if averaged else None
    if facts.analysis and facts.analysis["names"] and not getattr(dataset, "show_names", True):
        facts.analysis = None
        facts.notes.append(
            "analysis.json names subjects and is left out: studio analyse --no-names hides them"
        )
    facts.probe = read_probe(folder, images_seen, data_sha256) if averaged else None
    _complete_probe(facts, method, dataset if with_probe else None)
    facts.pictures = _draw(method, dataset, config.seed) if pictures is None else dict(pictures)
    try:
        facts.seconds = measure_duration(read_log(folder))
        facts.pictures["curves"] = draw_curves(folder, config)
    except StudioError as error:
        facts.missing["curves"] = str(error)
    mark_step("animation of the training")
    try:
        facts.animation = animate(
            folder,
            images_seen,
            checkpoint_painter(folder, dataset, config.seed, averaged),
            saved=averaged,
        )
    except StudioError as error:
        facts.missing["training"] = str(error)
    return facts


def _draw(method: Method, dataset: Dataset | DataDescription, seed: int) -> dict[str, Image.Image]:
    """Draws the pictures of a report, without the data those that need none."""
    if isinstance(dataset, Dataset):
        return dict(draw_pictures(method, dataset, seed))
    return {kind: PICTURES[kind](method, dataset) for kind in WITHOUT_DATA if kind not in ON_DEMAND}


def _complete_probe(facts: Facts, method: Method, dataset: object) -> None:
    """Probes the codes if `probe.json` cannot be used and there is a data set, or says so."""
    old = facts.probe is not None and is_linear_only(facts.probe)
    if (facts.probe is None or old) and isinstance(dataset, Dataset):
        from studio.evaluate.measure import measure

        facts.probe = measure(method, dataset)
    elif facts.probe is None:
        facts.missing["probe"] = "not measured"
    elif old:
        facts.notes.append(LINEAR_ONLY)


def _read_scores_of(facts: Facts, data_sha256: str | None) -> None:
    """Reads the scores that were measured on these data. A note counts the others."""
    entries = read_valid_scores(facts.folder)
    facts.scores = [
        entry
        for entry in entries
        if not data_sha256 or entry.get("data_sha256") in (None, data_sha256)
    ]
    others = len(entries) - len(facts.scores)
    if others:
        facts.notes.append(
            f"{others} scores of score.json were measured on other data and are not shown: "
            f"studio score {facts.folder} measures them again"
        )


def read_valid_scores(folder: Path) -> list[dict[str, Any]]:
    """Returns the entries of `score.json`, one per checkpoint and extractor.

    A damaged entry does not stop a report. It is left out with a warning.
    """
    path = folder / "score.json"
    try:
        entries = read_scores(folder)
    except StudioError as error:
        warn(f"{error}; left out of the report")
        return []
    whole = []
    for number, entry in enumerate(entries):
        try:
            _ = heading(entry), score_cells(entry), score_lines(entry)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            warn(
                f"{path}: scores[{number}] was not written by `studio score` ({error!r}); "
                "left out of the report"
            )
        else:
            whole.append(entry)
    return whole


def measure_duration(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the duration of a training over all its sessions in seconds.

    Returns None if the log does not contain it. Each session counts up to its last line.
    `images_per_second` of a line is the average since the session began, at the images of its
    `started`.
    """
    total, first, latest = 0.0, 0, 0.0
    for line in lines:
        if "started" in line:
            total, first, latest = total + latest, line["images_seen"], 0.0
        rate = line.get("images_per_second")
        if isinstance(rate, int | float) and rate > 0:
            latest = (line["images_seen"] - first) / rate
    return total + latest or None
