"""`studio report`."""

from pathlib import Path
from typing import Annotated

import typer

from studio.errors import StudioError
from studio.verbs.options import Number, Weights

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN ...", help="directories of runs; several are shown side by side"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="an HTML file; default: RUN/report.html, ./report.html for several runs"
        ),
    ] = None,
    with_probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe", help="measure what probe.json does not have for this checkpoint"
        ),
    ] = True,
    checkpoint: Number = None,
    ema: Weights = True,
) -> None:
    """Write one HTML page that needs no network: verdict, pictures, curves, scores, config, how to reproduce it."""
    from studio.report import collect, write_report
    from studio.runs.run import Run

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise StudioError(f"--out {out}: expected a name that ends in .html")
    if checkpoint is not None and len(runs) > 1:
        raise StudioError(f"--checkpoint {checkpoint}: is for one run, found {len(runs)}")
    opened = [
        Run.open(run, checkpoint, ema) for run in runs
    ]  # all of them first, so that a wrong name is told at once
    facts = [
        collect(
            run.folder,
            run.config,
            run.method,
            run.data,
            run.images_seen,
            with_probe=with_probe,
            averaged=ema,
        )
        for run in opened
    ]
    path = out or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    write_report(facts, path)
    print(path)
