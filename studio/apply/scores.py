"""Scores of new files: the distance of their salient codes, ranked among held-out controls."""

import csv
import io
from pathlib import Path

import numpy as np

from studio.atomic import write_text
from studio.errors import StudioError
from studio.runs.run import Run

__all__ = ["SCORES", "control_distances", "write_scores"]

SCORES = "scores.csv"
CONTROLS = 5_000  # held-out controls at most


def control_distances(run: Run) -> np.ndarray:
    """Returns the distances of the salient codes of held-out controls from blank, (n,).

    Raises:
        StudioError: the data of the run cannot be opened.
    """
    from studio.code_frame import encode_items, sample_items
    from studio.sampling import blank

    try:
        rows = sample_items(run.data.size("test", "background"), CONTROLS)
    except StudioError as error:
        raise StudioError(f"--what score: needs the run's held-out controls: {error}") from None
    code = encode_items(run.method, run.data, "test", "background", rows)
    return np.linalg.norm(code.s.numpy() - blank(run.method, 1)[0].numpy(), axis=1)


def write_scores(codes: Path, controls: np.ndarray) -> Path:
    """Writes `scores.csv` beside `codes.csv`: one row per image.

    `distance` is that of the salient code from the blank one. `beyond` is the share of held-out
    controls at least as far, the image counted with them. Small values are unusual.

    Args:
        codes: the table of `studio apply`.
        controls: distances of the controls, (n,).

    Returns:
        the path of the table.
    """
    from studio.analyse.distance import rank_among

    with codes.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    beyond = rank_among(np.array([float(row["distance"]) for row in rows]), controls)
    kept = [name for name in ("file", "slice", "subject", "distance", "change") if name in rows[0]]
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([*kept, "beyond"])
    for row, share in zip(rows, beyond, strict=True):
        table.writerow([*(row[name] for name in kept), f"{share:.6g}"])
    path = codes.with_name(SCORES)
    write_text(path, text.getvalue())
    return path
