"""`studio report`."""

from pathlib import Path
from typing import Annotated

import typer

from studio.errors import StudioError
from studio.runs.found import check_found
from studio.verbs.options import DataRoot, Names, Number, Weights, expand

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN ...",
            help="directories of runs; several appear side by side",
            callback=expand,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="HTML file to write; default: RUN/report.html, or ./report.html for several runs",
            callback=expand,
        ),
    ] = None,
    with_probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe",
            help=(
                "probe the checkpoint if the run's probe.json is of another one or of other data; "
                "--no-probe also works without the data"
            ),
        ),
    ] = True,
    checkpoint: Number = None,
    ema: Weights = True,
    data_root: DataRoot = None,
    names: Names = True,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="leave out the names of files and subjects, and every picture of a subject",
        ),
    ] = False,
) -> None:
    """Write one HTML page that needs no network.

    It shows a verdict, pictures, curves, scores, the config, and how to reproduce the run.
    """
    for run in runs:
        check_found(run)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise StudioError(f"--out {out}: expected a name that ends in .html")
    if checkpoint is not None and len(runs) > 1:
        raise StudioError(f"--checkpoint {checkpoint}: is for one run, found {len(runs)}")

    from studio.progress import show_steps
    from studio.report import collect_run, make_private_, write_report
    from studio.runs.run import Run

    # Every run is opened before any is measured, because a wrong name must be reported at once.
    opened = [Run.open(run, checkpoint, ema, data_root=data_root) for run in runs]
    shown = names and not private
    facts = []
    for run in opened:
        with show_steps(f"report of {run.folder.name}"):
            facts.append(collect_run(run, with_probe=with_probe, averaged=ema, names=shown))
    if private:
        for one in facts:
            make_private_(one)
    path = out or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    write_report(facts, path)
    print(path)
