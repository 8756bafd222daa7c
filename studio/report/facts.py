"""What a report tells of one run: read from its directory, and what its method and data set say of themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from studio.config import Config
from studio.data.dataset import Dataset
from studio.errors import StudioError, warn
from studio.evaluate.score import read_scores
from studio.evaluate.score_table import heading, score_cells, score_lines
from studio.method import DOMAINS, Method
from studio.render.animation import Animation, animate, checkpoint_painter
from studio.render.curves import draw_curves, read_log
from studio.render.registry import draw_pictures
from studio.runs import checkpoint

__all__ = ["Facts", "gather", "scores_of", "seconds_of"]


@dataclass
class Facts:
    """One run, as a report shows it.

    Attributes:
        folder: the run's directory.
        config: the experiment, resolved.
        images_seen: of the checkpoint.
        paper: where the method is from.
        parameters: of all nets.
        shape: of the images.
        sizes: (split, domain) -> images.
        notes: what the data set and the method say of themselves.
        environment: of the checkpoint's manifest.
        seconds: that the training took, or None where the log does not tell.
        probe: as `probe.json`, or None.
        scores: as `score.json`, each with its rows.
        pictures: kind -> picture.
        animation: of the training.
        missing: what is not there -> why.
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
    missing: dict[str, str] = field(default_factory=dict)


def gather(
    folder: Path,
    config: Config,
    method: Method,
    dataset: Dataset,
    images_seen: int,
    *,
    with_probe: bool = True,
    averaged: bool = True,
    pictures: Mapping[str, Image.Image] | None = None,
) -> Facts:
    """Collects what a report tells of a run.

    `probe.json` is taken where it is of the same checkpoint, and measured anew otherwise; nothing is written.

    Args:
        folder: the run's directory.
        config: the experiment.
        method: in eval mode, as it was after `images_seen` images.
        dataset: of the run.
        images_seen: number of the checkpoint.
        with_probe: whether to measure where there is no `probe.json`.
        averaged: whether the method has its averaged weights, of which `probe.json` and the training's grids are.
        pictures: those that have just been drawn; all are drawn when None.
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
        },
        [*dataset.notes(), *method.notes()],
        here[images_seen].verify() if images_seen in here else {},
        None,
        scores=scores_of(folder),
    )
    facts.probe = _probe(folder, images_seen) if averaged else None
    if facts.probe is None and with_probe:
        from studio.evaluate.measure import measure

        facts.probe = measure(method, dataset)
    elif facts.probe is None:
        facts.missing["probe"] = "not measured"
    facts.pictures = dict(
        draw_pictures(method, dataset, config.seed) if pictures is None else pictures
    )
    try:
        facts.seconds = seconds_of(read_log(folder))
        facts.pictures["curves"] = draw_curves(folder, config)
    except StudioError as error:
        facts.missing["curves"] = str(error)
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


def _probe(folder: Path, images_seen: int) -> dict[str, Any] | None:
    """Returns `probe.json` if it is whole and of this checkpoint."""
    path = folder / "probe.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        needed = (
            "attribute",
            "belongs",
            "metric",
            "salient",
            "common",
            "whole",
            "chance",
            "error",
            "n",
            "also",
        )
        whole = all(key in row for row in found["rows"] for key in needed)
    except (OSError, ValueError, KeyError, TypeError):
        whole, found = False, {}
    if not whole:
        warn(f"{path}: not what a training writes; measured anew")
        return None
    return found if found.get("images_seen") == images_seen else None


def scores_of(folder: Path) -> list[dict[str, Any]]:
    """Returns what `score.json` holds, one dict per checkpoint and extractor; nothing where there is none.

    What `studio score` would not have written is left out, with a warning: a report is not stopped by it.
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
                f"{path}: scores[{number}] is not what `studio score` wrote ({error!r}); left out of the report"
            )
        else:
            whole.append(entry)
    return whole


def seconds_of(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns how long a training took, over all its sessions, up to the last line of each; None if no line says.

    A line's `images_per_second` is an average since its session began, at the images of its `started`.
    """
    total, first, latest = 0.0, 0, 0.0
    for line in lines:
        if "started" in line:
            total, first, latest = total + latest, line["images_seen"], 0.0
        rate = line.get("images_per_second")
        if isinstance(rate, int | float) and rate > 0:
            latest = (line["images_seen"] - first) / rate
    return total + latest or None
