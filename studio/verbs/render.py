"""`studio render`."""

from pathlib import Path
from typing import Annotated

import typer

from studio.errors import StudioError, nearest
from studio.verbs.options import Number, RunArgument, Weights, check_picture

__all__ = ["render"]


def render(
    run: RunArgument,
    kind: Annotated[
        str, typer.Argument(help="grid, reconstruct, swap, heal, isolate, traverse, interpolate, codes or counterfactual")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="a PNG; default: RUN/grids/KIND.png")] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="rows, images or points")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="which images and codes")] = 0,
    checkpoint: Number = None,
    ema: Weights = True,
) -> None:
    """Draw a captioned picture."""
    from studio.render import KINDS
    from studio.run import Run
    from studio.writing import write_file

    if kind not in KINDS:
        raise StudioError(f"render {kind}: no such picture{nearest(kind, KINDS)}")
    if out is not None:
        check_picture(out)
    opened = Run.open(run, checkpoint, ema)
    picture = KINDS[kind](opened.method, opened.data, n, seed)
    path = out or opened.folder / "grids" / f"{kind}.png"
    write_file(path, lambda partial: picture.save(partial))
    print(path)
