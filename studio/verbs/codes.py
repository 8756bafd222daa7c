"""`studio codes`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from studio.limits import Most
from studio.verbs.options import DataRoot, Number, RunArgument, Weights, expand

if TYPE_CHECKING:
    from studio.code_frame import CodeSplit, Pool

__all__ = ["codes"]


def codes(
    run: RunArgument,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="a file that ends in .csv, .parquet or .h5ad", callback=expand
        ),
    ],
    split: Annotated[str, typer.Option("--split", help="train, test or all")] = "all",
    subject: Annotated[
        bool, typer.Option("--subject", help="one row per subject instead of one per image")
    ] = False,
    pool: Annotated[
        str,
        typer.Option(
            "--pool",
            help="with --subject: mean of the codes of a subject, or those of its image that is "
            "farthest from the blank code",
        ),
    ] = "mean",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            max=Most.IMAGES,
            help="images of each split and set, drawn at random with a fixed seed; default: all",
        ),
    ] = None,
    checkpoint: Number = None,
    ema: Weights = True,
    data_root: DataRoot = None,
) -> None:
    """Write the codes of a run's images as a table with names, subjects and attributes."""
    from studio.code_frame import check_ending, write_frame
    from studio.pace import paced_count
    from studio.runs.run import Run

    check_ending(out)
    opened = Run.open(run, checkpoint, ema, data_root=data_root)
    chosen, way = cast("CodeSplit", split), cast("Pool", pool)  # `codes` checks both
    frame = opened.codes(chosen, subject, way, limit, paced_count("encoded images"))
    write_frame(frame, out)
    print(out)
