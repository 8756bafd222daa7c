"""`studio compare`."""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.verbs.options import Json

__all__ = ["compare"]


def compare(
    cfgs: Annotated[
        list[str], typer.Argument(metavar="CFG...", help="configs and sweeps, by path or name")
    ],
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="trainings per row; default: the sweep's, or 3"),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option("--budget", min=1, help="images per training, the same for every row"),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="a.b=v1,v2",
            help="override a field; several values are rows; repeatable",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="the folder of the runs; default: runs/compare-NAME"),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="trainings at a time, which share the processors")
    ] = 1,
    launcher: Annotated[
        str | None,
        typer.Option(
            "--launcher", help="what starts a training, e.g. 'accelerate launch {train} {args}'"
        ),
    ] = None,
    resubmit: Annotated[
        bool, typer.Option("--resubmit", help="launch again what was submitted and is not complete")
    ] = False,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="probe the runs anew, e.g. by carton")
    ] = None,
    eval_mode: Annotated[
        str | None, typer.Option("--eval", help="probe the runs anew: clean or authors")
    ] = None,
    centrality: Annotated[
        bool,
        typer.Option(
            "--centrality", help="also pick each row's most central training, without labels"
        ),
    ] = False,
    show: Annotated[
        str | None, typer.Option("--show", metavar="KEY,KEY", help="further numbers for the table")
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="also what is read from both codes together")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="print what would be trained, resumed or taken as it is"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing, resume what is half done, and compare."""
    from studio.compare import compare as comparison
    from studio.compare.launch import LaunchTemplate
    from studio.compare.sweep import comparison_name, resolve_variants
    from studio.compare.table import check_keys, show_comparison, tables, write_comparison
    from studio.evaluate.probes import ProbeOptions

    reprobe = protocol is not None or eval_mode is not None
    options = ProbeOptions.parse(protocol, eval_mode) if reprobe else None
    chosen = LaunchTemplate.parse(launcher) if launcher is not None else None
    rows = resolve_variants(cfgs, assignments or [], seeds, budget)
    folder = out or Path("runs") / f"compare-{comparison_name(cfgs)}"
    if dry_run:
        _print_members([member.describe() for member in comparison.plan(rows, folder)], as_json)
        return
    result = comparison.compare(rows, folder, chosen, jobs, resubmit, options, centrality, _say)
    keys = [key.strip() for key in (show or "").split(",") if key.strip()]
    shown = tables(result, keys, wide)
    written = write_comparison(result, shown)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        show_comparison(result, shown)
    _say(f"written: {', '.join(str(path) for path in written)}")
    if result["stopped"]:
        raise typer.Exit(128 + getattr(signal, result["stopped"]))
    check_keys(result, keys)
    if comparison.members(result, "failed"):
        raise typer.Exit(1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_members(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"runs": found}, indent=2))
        return
    words = {"missing": "train", "half": "resume", "done": "take as it is"}
    for member in found:
        progress = f"{member['images_seen']:,} of {member['images']:,} images"
        print(
            f"{words.get(member['state'], member['state'])}: {member['run']} ({member['error'] or progress})"
        )
