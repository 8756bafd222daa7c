"""`studio score`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from studio.errors import StudioError
from studio.limits import Most
from studio.runs.found import check_found
from studio.verbs.options import DataRoot, Json, RunArgument, Weights, expand

__all__ = ["score"]


Features = Annotated[
    str,
    typer.Option(
        "--features",
        help=(
            "feature extractor: domain (a classifier trained on this data set), inception, or "
            "module:Class of your own"
        ),
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option("--weights", help="file with the weights of the extractor", callback=expand),
]
NumberOrAll = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="N|all",
        help="checkpoint by its number of images seen, or all; default: the newest",
    ),
]


def score(
    run: RunArgument,
    features: Features = "domain",
    weights: WeightsFile = None,
    number: NumberOrAll = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", help="images of each set; default: 2,000, or all if the data set has fewer"
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=Most.SEED, help="seed of the choice of images and codes"),
    ] = 0,
    plane: Annotated[
        str | None,
        typer.Option(
            "--plane",
            help="for volumes: the middle axial (default), coronal or sagittal plane is scored",
        ),
    ] = None,
    as_json: Json = False,
    ema: Weights = True,
    data_root: DataRoot = None,
) -> None:
    """Score generated images against real images: FID, KID, IS, precision and recall."""
    check_found(run)
    if number is not None and number != "all" and not number.isdecimal():
        raise StudioError(f"--checkpoint {number}: expected a number of images seen, or all")

    from studio.atomic import write_file
    from studio.evaluate.score import intact_checkpoints
    from studio.evaluate.score import score as score_run
    from studio.evaluate.score_table import show_scores
    from studio.progress import show_steps
    from studio.render.score_curve import score_curve

    numbers = (
        None if number is None else intact_checkpoints(run) if number == "all" else [int(number)]
    )
    with show_steps("score"):
        entries = score_run(run, features, weights, numbers, n, seed, ema, _log, data_root, plane)
    if as_json:
        result = {**entries[-1], **({"scores": entries} if number == "all" else {})}
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        show_scores(entries)
    print(f"written: {run / 'score.json'}", file=sys.stderr)
    if number == "all":
        picture, path = score_curve(entries), run / "grids" / "score.png"
        write_file(path, lambda partial: picture.save(partial))
        print(f"written: {path}", file=sys.stderr)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
