"""`studio train`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.errors import StudioError
from studio.verbs.options import Assignments, Cfg

__all__ = ["train"]


def train(
    cfg: Cfg,
    assignments: Assignments = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="the run's directory; default: runs/CONFIG-N")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="continue the run instead of starting one")
    ] = False,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="continue --run, or start it where there is none")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the resolved config and the parameter counts")
    ] = False,
    stop_after: Annotated[
        str | None, typer.Option("--stop-after", metavar="TIME", help="save and stop, e.g. 3h50m")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="deterministic algorithms only")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="FIELD", help="resume though FIELD changed"),
    ] = None,
) -> None:
    """Train a method; the same as `accelerate launch studio/train.py`."""
    from studio.training.signals import Preempted, exit_code, preemptible

    try:
        with preemptible():
            stopped = _train(
                cfg,
                assignments or [],
                run,
                resume,
                requeue,
                dry_run,
                stop_after,
                deterministic,
                allow or [],
            )
    except Preempted as request:
        stopped = str(request)
        print(
            f"stopped by {stopped} while nothing was trained; the same command goes on",
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
) -> str:
    """Trains, or prints the plan, and returns what stopped it before its end, or nothing."""
    from studio.config import load, parse_duration
    from studio.training.session import train as run_training

    config = load(cfg, assignments)
    if dry_run:
        _print_plan(config)
        return ""
    if requeue:
        if run is None:
            raise StudioError(
                "--requeue: needs --run DIR, so that the same command finds the same run"
            )
        resume = resume or (run / "config.yaml").is_file()
    seconds = parse_duration(stop_after) if stop_after is not None else None
    return run_training(config, run, resume, seconds, deterministic, _finish, allow).stopped


def _finish(done: Any) -> None:  # noqa: ANN401
    from studio.training.summary import (
        finish,
    )  # two seconds of imports that the first step need not wait for

    finish(done)


def _print_plan(config: Any) -> None:  # noqa: ANN401
    from studio.build import build_dataset, build_method
    from studio.config import dump

    method = build_method(config, build_dataset(config).shape)
    print(dump(config), end="")
    for name, net in method.named_children():
        print(f"# {name}: {sum(p.numel() for p in net.parameters()):,} parameters")
