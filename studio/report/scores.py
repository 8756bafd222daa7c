"""The image quality of a run: the scores of `studio score` as a table and over the training."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from studio.evaluate.score_table import heading, score_cells, score_lines
from studio.render.score_curve import score_curve
from studio.report.blocks import Figure, Table, embed
from studio.report.facts import Facts

__all__ = ["ScoreSeries", "list_scores"]

# Scores that differ in one of these cannot be compared, so they form different series.
SERIES = ("extractor", "weights_sha256", "averaged", "n", "seed")


class ScoreSeries(NamedTuple):
    """Comparable scores of one run: those of one checkpoint as a table, all of them as a curve."""

    table: Table
    lines: Sequence[str]
    curve: Figure | None


def list_scores(runs: Sequence[Facts], names: Sequence[str], most: int) -> list[ScoreSeries]:
    """Returns the series of every run.

    Args:
        runs: with scores that `studio score` wrote.
        names: names of the runs.
        most: bytes that a picture may take.
    """
    return [
        _show([*entries], facts.images_seen, f"{name}: " if len(runs) > 1 else "", most)
        for facts, name in zip(runs, names, strict=True)
        for _, entries in groupby(sorted(facts.scores, key=_order), key=_series)
    ]


def _series(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry[key]) for key in SERIES)


def _order(entry: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    return _series(entry), entry["checkpoint"]


def _show(entries: list[dict[str, Any]], images_seen: int, name: str, most: int) -> ScoreSeries:
    shown = next((entry for entry in entries if entry["checkpoint"] == images_seen), entries[-1])
    head, *rows = score_cells(shown)
    table = Table(name + heading(shown), head, rows)
    curve = None
    if len(entries) > 1:
        last = entries[-1]
        measures = "KID" if last["rows"][0]["fid"] is None else "FID and KID"
        caption = (
            f"{name}{measures} by {last['extractor']} of {len(entries)} checkpoints. Lower is "
            "better. Lines without marks show the score of as many real images, the best that a "
            "model can reach."
        )
        curve = embed(score_curve(entries), most, f"Scores over the training: {caption}", caption)
    return ScoreSeries(table, score_lines(shown), curve)
