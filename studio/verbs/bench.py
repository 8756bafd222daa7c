"""`studio bench`."""

import json
from typing import Annotated, Any

import typer

from studio.verbs.options import Assignments, Cfg, Json

__all__ = ["bench"]


def bench(
    cfg: Cfg = "digits_dig",
    assignments: Assignments = None,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="how many are timed")] = 10,
    textbook: Annotated[
        bool, typer.Option("--textbook/--no-textbook", help="compare with the textbook's step")
    ] = True,
    as_json: Json = False,
) -> None:
    """Measure what a training step costs, against the textbook's and against the machine's best."""
    from studio.bench import bench as measured
    from studio.config import load

    result = measured(load(cfg, assignments or []), iterations, textbook)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shape = "x".join(str(n) for n in result["shape"])
    title = (
        f"{result['method']} on {result['dataset']} ({shape}), {result['parameters'] / 1e6:.2f} M parameters, batch "
        f"{result['batch']}, {result['device']}, {result['threads']} threads, precision {result['precision']}"
    )
    table = Table(
        title=title, box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left", title_style="bold"
    )
    for name in (
        "iteration",
        "median s",
        "least s",
        "processor s",
        "images/s",
        "GFLOP/image",
        "GFLOP/s",
        "of the machine's",
    ):
        table.add_column(name, justify="left" if name == "iteration" else "right", no_wrap=True)
    for name in ("ours", "textbook"):
        cost = result[name]
        if cost is not None:
            table.add_row(
                name,
                *(f"{cost[key]:.4g}" for key in ("seconds", "seconds_least", "processor_seconds")),
                f"{cost['images_per_second']:,.1f}",
                f"{cost['gflop_per_image']:.4g}",
                f"{cost['gflop_per_second']:,.1f}",
                f"{cost['share_of_ceiling']:.0%}",
            )
    Console(width=140).print(table)
    best = result["ceiling"]
    faster = (
        ""
        if result["speedup"] is None
        else f"{result['speedup']:.2f} times as fast as the textbook's step. "
    )
    print(
        f"{faster}The machine's best, a product of matrices {best['side']:,} a side: {best['gflop_per_second']:,.0f} GFLOP/s.\n"
        f"Making an iteration's images: {result['fetch_seconds']:.4g} s. The first iteration: {result['first_seconds']:.4g} s. "
        f"Largest memory: {result['peak_bytes'] / 1e9:.2f} GB."
    )
