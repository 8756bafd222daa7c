"""`studio analyse`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.errors import StudioError
from studio.verbs.options import DataRoot, Json, Names, Number, Weights, expand

if TYPE_CHECKING:
    from studio.analysis_config import AnalysisConfig

__all__ = ["analyse"]

SECTION = "analysis."


def analyse(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN ...",
            help="a run, and other trainings on the same data, for agreement over seeds",
            callback=expand,
        ),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="analysis.b=v",
            help="set field b of the section analysis to v; repeatable",
        ),
    ] = None,
    maps: Annotated[
        bool, typer.Option("--maps/--no-maps", help="also measure where the targets differ")
    ] = True,
    as_json: Json = False,
    checkpoint: Number = None,
    ema: Weights = True,
    data_root: DataRoot = None,
    names: Names = True,
) -> None:
    """Analyse the held-out subjects of a run: distances, subgroups, associations and maps.

    It writes analysis.json, analysis.html and the folder analysis/ into the run.
    """
    from studio.errors import inform
    from studio.report.analysis import analyse_run
    from studio.runs.run import Run

    if checkpoint is not None and len(runs) > 1:
        raise StudioError(f"--checkpoint {checkpoint}: is for one run, found {len(runs)}")
    opened = [Run.open(run, checkpoint, ema, data_root=data_root) for run in runs]
    config = read_settings(opened[0].config.analysis, assignments or [])
    for run in opened:
        run.data.show_names = run.data.show_names and names
    result = analyse_run(opened[0], config, opened[1:], maps, inform)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        from studio.report.analysis import analysis_lines

        print("\n".join(analysis_lines(result)))
    print(f"written: {runs[0] / 'analysis.html'}", file=sys.stderr)


def read_settings(section: "AnalysisConfig", assignments: list[str]) -> "AnalysisConfig":
    """Returns the section `analysis` of a run with some fields set anew.

    Raises:
        StudioError: an assignment is for another section, or a value is wrong.
    """
    from studio.analysis_config import AnalysisConfig
    from studio.config import parse_assignment, validate_section

    raw = section.model_dump(mode="json")
    for assignment in assignments:
        path, value = parse_assignment(assignment)
        if not path.startswith(SECTION):
            raise StudioError(
                f"--set {assignment}: expected a field of analysis, such as "
                "analysis.covariates=[age,site]; the rest of a run is fixed"
            )
        raw[path.removeprefix(SECTION)] = value
    return validate_section(AnalysisConfig, raw, "--set", "analysis")
