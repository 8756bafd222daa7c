"""`studio train`."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.config_files import parse_duration
from studio.errors import StudioError
from studio.verbs.options import Assignments, Cfg, DataRoot, data_root_setting, expand

if TYPE_CHECKING:
    from studio.config import Config
    from studio.training.session import TrainingSession

__all__ = ["train"]


Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="FIELD",
        help=(
            "with --resume: accept a changed value of FIELD, e.g. train.lr, or changed files if "
            "FIELD is data; repeatable"
        ),
    ),
]


Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN_OR_EXPORT",
        help="start from the averaged weights of a run or an export instead of random ones",
        callback=expand,
    ),
]


StopAfter = Annotated[
    str | None,
    typer.Option(
        "--stop-after", metavar="TIME", help="save and stop after this time, e.g. 3h50m or 90s"
    ),
]


Report = Annotated[
    bool,
    typer.Option(
        "--report/--no-report",
        help="write pictures and report.html; --no-report leaves probe.json, and sets "
        "train.grid_every=0",
    ),
]


def train(
    cfg: Cfg,
    assignments: Assignments = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            help="directory of the run; default: runs/CONFIG-N with the next free N",
            callback=expand,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="continue the run in --run from its newest checkpoint")
    ] = False,
    requeue: Annotated[
        bool,
        typer.Option("--requeue", help="continue the run in --run, or start it if it is new"),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="print the resolved config and the parameter counts, and train nothing",
        ),
    ] = False,
    stop_after: StopAfter = None,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="use deterministic algorithms only; may be slower"),
    ] = False,
    allow: Allow = None,
    start: Start = None,
    report: Report = True,
    data_root: DataRoot = None,
) -> None:
    """Train a method, as `accelerate launch studio/train.py` does."""
    from studio.config_check import refuse_faults

    assignments = [*(assignments or []), *data_root_setting(data_root)]
    if not report:
        assignments.append("train.grid_every=0")
    refuse_faults(cfg, assignments)
    if stop_after is not None:
        parse_duration(stop_after)

    from studio.training.signals import Preempted, exit_code, preemptible

    try:
        with preemptible():
            stopped = _train(
                cfg,
                assignments,
                run,
                resume,
                requeue,
                dry_run,
                stop_after,
                deterministic,
                allow or [],
                start,
                report,
            )
    except Preempted as request:
        stopped = str(request)
        print(
            f"stopped by {stopped} while nothing was trained; the same command continues",
            file=sys.stderr,
        )
    if stopped:
        raise typer.Exit(exit_code(stopped))


def _train(
    cfg: str,
    assignments: list[str],
    run: Path | None,
    resume: bool,
    requeue: bool,
    dry_run: bool,
    stop_after: str | None,
    deterministic: bool,
    allow: list[str],
    start: Path | None,
    report: bool,
) -> str:
    """Trains, or prints the plan.

    Returns:
        The reason why training stopped early, for example the name of a signal, or "".
    """
    from studio.config import load
    from studio.training.session import train as run_training

    config = load(cfg, assignments)
    if dry_run:
        _print_plan(config, start)
        return ""
    if requeue:
        if run is None:
            raise StudioError(
                "--requeue: needs --run DIR, so that the same command finds the same run"
            )
        resume = resume or (run / "config.yaml").is_file()
    seconds = parse_duration(stop_after) if stop_after is not None else None
    finish = partial(_finish, report=report)
    return run_training(config, run, resume, seconds, deterministic, finish, allow, start).stopped


def _finish(session: "TrainingSession", report: bool) -> None:
    # Imported here because it takes two seconds, for which the first step need not wait.
    from studio.training.summary import finish

    finish(session, report)


def _print_plan(config: "Config", start: Path | None) -> None:
    from studio.build import build_dataset, build_method
    from studio.config import dump
    from studio.training.start import find_beginning, note_of, refuse_misfit

    beginning, dataset = find_beginning(start, None), build_dataset(config)
    method = build_method(config, dataset.shape)
    if beginning is not None and beginning.run is not None:
        refuse_misfit(method, config, dataset.shape, beginning.run)
    print(dump(config), end="")
    if beginning is not None:
        print(f"# {note_of(beginning, dataset)}")
    for name, net in method.named_children():
        print(f"# {name}: {sum(p.numel() for p in net.parameters()):,} parameters")
