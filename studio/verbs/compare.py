"""`studio compare`."""

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studio.config_files import find_config_or_sweep
from studio.evaluate.probe_options import ProbeOptions
from studio.limits import Most
from studio.verbs.options import DataRoot, Json, data_root_setting, expand

if TYPE_CHECKING:
    from studio.compare.table import TableText

__all__ = ["compare"]

Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=1,
        max=Most.COUNT,
        help="trainings per row, with different seeds; default: the sweep's, or 3",
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        min=1,
        max=Most.IMAGES,
        help="images per training, the same for every row; default: train.images of the config",
    ),
]
ValueLists = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="a.b=v1,v2",
        help="set field b of section a; several values make one row each; repeatable",
    ),
]
Launcher = Annotated[
    str | None,
    typer.Option(
        "--launcher",
        help="command that starts a training, e.g. 'accelerate launch {train} {args}'",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=1,
        max=Most.PROCESSES,
        help="trainings at the same time; they share the processors",
    ),
]
Resubmit = Annotated[
    bool,
    typer.Option("--resubmit", help="launch again the runs that were submitted but are incomplete"),
]
Protocol = Annotated[
    str | None,
    typer.Option("--protocol", help="probe the runs again with held-out, carton or louiset"),
]
EvalMode = Annotated[
    str | None, typer.Option("--eval", help="probe the runs again in eval mode clean or authors")
]
Centrality = Annotated[
    bool,
    typer.Option(
        "--centrality",
        help="also choose the most central training of each row, a choice that needs no labels",
    ),
]
Report = Annotated[
    bool,
    typer.Option(
        "--report/--no-report",
        help="write pictures and report.html of each run that is trained; --no-report leaves "
        "the probes, the tables and the chart",
    ),
]


def compare(
    cfgs: Annotated[
        list[str], typer.Argument(metavar="CFG...", help="configs and sweeps, by path or name")
    ],
    seeds: Seeds = None,
    budget: Budget = None,
    assignments: ValueLists = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="folder of the runs; default: runs/compare-NAME", callback=expand
        ),
    ] = None,
    jobs: Jobs = 1,
    launcher: Launcher = None,
    resubmit: Resubmit = False,
    protocol: Protocol = None,
    eval_mode: EvalMode = None,
    centrality: Centrality = False,
    report: Report = True,
    show: Annotated[
        str | None,
        typer.Option("--show", metavar="KEY,KEY", help="further numbers to show in the table"),
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="also show probes of both codes together")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="print which runs would be trained, resumed or kept, and do nothing"
        ),
    ] = False,
    as_json: Json = False,
    data_root: DataRoot = None,
) -> None:
    """Train the missing runs, resume the incomplete ones, and compare all of them."""
    settings = [*(assignments or []), *data_root_setting(data_root)]
    options = _probe_options(protocol, eval_mode)
    for cfg in cfgs:
        find_config_or_sweep(cfg)

    from studio.compare import compare as comparison
    from studio.compare.launch import LaunchTemplate
    from studio.compare.sweep import comparison_name, resolve_variants
    from studio.compare.table import check_keys, show_comparison, tables, write_comparison

    template = LaunchTemplate.parse(launcher) if launcher is not None else None
    rows = resolve_variants(cfgs, settings, seeds, budget)
    folder = out or Path("runs") / f"compare-{comparison_name(cfgs)}"
    if dry_run:
        _print_members([member.describe() for member in comparison.plan(rows, folder)], as_json)
        return
    result = comparison.compare(
        rows, folder, template, jobs, resubmit, options, centrality, _log, report
    )
    keys = [key.strip() for key in (show or "").split(",") if key.strip()]
    shown = tables(result, keys, wide)
    written = [*write_comparison(result, shown), *_write_page(result, shown)]
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        show_comparison(result, shown)
    _log(f"written: {', '.join(str(path) for path in written)}")
    if result["stopped"]:
        raise typer.Exit(128 + getattr(signal, result["stopped"]))
    check_keys(result, keys)
    if comparison.members(result, "failed"):
        raise typer.Exit(1)


def _probe_options(protocol: str | None, eval_mode: str | None) -> ProbeOptions | None:
    """Returns how to probe the runs again, or None if neither option is given."""
    if protocol is None and eval_mode is None:
        return None
    return ProbeOptions.parse(protocol, eval_mode)


def _write_page(result: dict[str, Any], shown: "list[TableText]") -> list[Path]:
    """Writes `compare.html` beside the tables, and `compare.png` if a number varies.

    Returns:
        their paths.
    """
    from studio.atomic import write_text
    from studio.compare.curve import draw_curves, find_curves
    from studio.compare.page import comparison_page
    from studio.verbs.pictures import save_picture

    page, picture = (Path(result["out"]) / f"compare.{kind}" for kind in ("html", "png"))
    found = find_curves(result["rows"])
    curves = draw_curves(found) if found else None
    write_text(page, comparison_page(result, shown, curves))
    if curves is None:
        return [page]
    save_picture(curves, picture)
    return [page, picture]


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_members(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"runs": found}, indent=2))
        return
    words = {"missing": "train", "half": "resume", "done": "take as it is"}
    for member in found:
        progress = f"{member['images_seen']:,} of {member['images']:,} images"
        action = words.get(member["state"], member["state"])
        print(f"{action}: {member['run']} ({member['error'] or progress})")
