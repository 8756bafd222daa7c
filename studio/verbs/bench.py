"""`studio bench`."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.errors import StudioError
from studio.limits import Most
from studio.verbs.options import Assignments, Cfg, DataRoot, Json, data_root_setting, expand
from studio.verbs.pictures import check_picture, save_picture

__all__ = ["bench"]

ROWS = {
    "ours": "studio",
    "textbook": "the naive implementation",
    "authors": "the authors' update without CR",
    "authors_with_cr": "the authors' update with CR",
}
SMALL = 0.005  # share of the time that is not worth a word


def bench(
    cfg: Cfg = "digits_dig",
    assignments: Assignments = None,
    iterations: Annotated[
        int, typer.Option("--iterations", min=1, max=Most.COUNT, help="number of timed iterations")
    ] = 10,
    naive: Annotated[
        bool,
        typer.Option(
            "--naive/--no-naive",
            help="also measure other implementations, which need more memory",
        ),
    ] = True,
    growth: Annotated[
        list[str] | None,
        typer.Option(
            "--growth",
            metavar="a.b=v1,v2",
            help="measure the studio alone for several values of a field; repeatable",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", callback=expand, help="with --growth: draw time and memory into this picture"
        ),
    ] = None,
    as_json: Json = False,
    data_root: DataRoot = None,
) -> None:
    """Measure the cost of a training iteration.

    It is compared with a naive implementation of the method, for Double InfoGAN also with the
    update of the authors' code, and with the fastest matrix product and convolutions of the
    machine. Close other programs first: the result says whether it is clean.
    """
    from studio.config_check import refuse_faults

    settings = [*(assignments or []), *data_root_setting(data_root)]
    refuse_faults(cfg, settings)

    # Before torch is imported: its profiler prints a log otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from studio.bench import bench as measure_cost
    from studio.config import load

    if growth:
        _grow(cfg, settings, growth, iterations, out, as_json)
        return
    if out is not None:
        raise StudioError("--out: draws the growth, so it needs --growth a.b=v1,v2")
    result = measure_cost(load(cfg, settings), iterations, naive)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        _show(result)


def _grow(
    cfg: str,
    settings: list[str],
    growth: list[str],
    iterations: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measures, prints and draws the growth with each field."""
    from studio.bench.growth import measure_growth
    from studio.compare.sweep import parse_values

    if out is not None:
        check_picture(out)
    report = lambda line: print(line, file=sys.stderr)  # noqa: E731
    axes = dict(map(parse_values, growth))
    found = {
        field: measure_growth(cfg, settings, field, values, iterations, report)
        for field, values in axes.items()
    }
    if out is not None:
        from studio.render.figure import keep_figures
        from studio.render.growth import draw_growth

        with keep_figures() as kept:
            picture = draw_growth(found, f"cost of an image, {' '.join([cfg, *settings])}")
        save_picture(picture, out, kept)
    if as_json:
        print(json.dumps({"growth": found}, indent=2, allow_nan=False))
    else:
        _show_growth(found)


def _show_growth(found: dict[str, list[dict[str, Any]]]) -> None:
    from studio.terminal import open_console
    from studio.text_table import Column, TextTable

    for field, rows in found.items():
        head = ("s/image", "expected", "GFLOP/image", "GB", "clean")
        cells = [
            [
                str(row["value"]),
                *(f"{row[key]:.4g}" for key in ("seconds_per_image", "expected")),
                f"{row['gflop_per_image']:.4g}",
                f"{row['bytes'] / 1e9:.2f}",
                {True: "yes", False: "NO", None: "?"}[row["clean"]],
            ]
            for row in rows
        ]
        columns = [Column(field, breaks=True), *(Column(name, "right") for name in head)]
        open_console().print(TextTable("cost of an image", columns, cells))


def _show(result: dict[str, Any]) -> None:
    """Prints the result as a table and a summary."""
    from studio.terminal import open_console
    from studio.text_table import Column, TextTable

    shape = "x".join(str(n) for n in result["shape"])
    title = (
        f"{result['method']} on {result['dataset']} ({shape}), "
        f"{result['parameters'] / 1e6:.2f} M parameters, batch {result['batch']}, "
        f"{result['device']}, {result['threads']} threads, precision {result['precision']}"
    )
    head = (
        *("median s", "fastest s", "processor s", "images/s"),
        *("GFLOP/image", "GFLOP/s", "of the ceiling"),
    )
    rows = [[name, *_cells(result[key])] for key, name in ROWS.items() if result[key] is not None]
    columns = [Column("implementation", breaks=True), *(Column(name, "right") for name in head)]
    open_console().print(TextTable(title, columns, rows))
    for key, name in ROWS.items():
        speedup = result.get("speedup" if key == "textbook" else f"{key}_speedup")
        if speedup is not None:
            print(f"The studio is {speedup:.2f} times as fast as {name}.")
    best, layers = result["ceiling"], result["layers"]
    side = f"{best['side']:,}"
    shares = sorted(result["shares"].items(), key=lambda share: -share[1])
    print(
        f"Ceiling of this machine, a product of {side} x {side} matrices: "
        f"{best['gflop_per_second']:,.0f} GFLOP/s.\n"
        f"Convolutions and matrix products of an iteration alone, each in its best layout and "
        f"precision: {layers['seconds']:.4g} s, {layers['share']:.0%} of the fastest iteration.\n"
        f"Time by kind of work: "
        f"{', '.join(f'{name} {share:.0%}' for name, share in shares if share >= SMALL)}.\n"
        f"Loading the images of an iteration: {result['fetch_seconds']:.4g} s. "
        f"First iteration: {result['first_seconds']:.4g} s. "
        f"Peak memory: {result['peak_bytes'] / 1e9:.2f} GB."
    )
    print(_judge(result))


def _judge(result: dict[str, Any]) -> str:
    """Says whether other programs disturbed the measurement."""
    busy = result["other_cores"]
    if busy is None:
        return "Whether other programs ran meanwhile is not known on this system."
    if result["clean"]:
        return f"Clean: other programs used {busy:.2f} processor cores meanwhile."
    return (
        f"NOT CLEAN: other programs used {busy:.2f} processor cores meanwhile. Compare the rows "
        "with each other, but do not quote the times."
    )


def _cells(cost: dict[str, float]) -> list[str]:
    seconds = [cost[key] for key in ("seconds", "seconds_least", "processor_seconds")]
    return [
        *(f"{value:.4g}" for value in seconds),
        f"{cost['images_per_second']:,.1f}",
        f"{cost['gflop_per_image']:.4g}",
        f"{cost['gflop_per_second']:,.1f}",
        f"{cost['share_of_ceiling']:.0%}",
    ]
