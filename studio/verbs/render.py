"""`studio render`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.errors import StudioError, nearest
from studio.limits import Most
from studio.runs.found import check_found
from studio.verbs.options import (
    CutPlanes,
    DataRoot,
    Names,
    Number,
    RunArgument,
    Weights,
    expand,
)
from studio.verbs.pictures import check_picture, save_picture

__all__ = ["render"]

KINDS = (
    *("overview", "grid", "reconstruct", "swap", "heal", "isolate", "traverse", "square"),
    *("interpolate", "codes", "counterfactual", "curves", "training"),
)
OF_DIRECTORIES = ("curves", "training")  # drawn from the files of a run
# Options that apply to one kind of picture only.
OWN = {
    "--range": ("traverse", "square"),
    "--plane": ("codes",),
    "--attribute": ("codes",),
}


Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help=(
            "picture to write, .png, .jpg, .webp, .pdf or .svg; default: RUN/grids/KIND.png, or "
            "RUN/grids/training.webp for the animation"
        ),
        callback=expand,
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n",
        min=1,
        max=Most.COUNT,
        help="number of rows, coordinates, points or frames; default: that of the kind",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=Most.SEED,
        help=(
            "seed of the choice of images and codes; default: 0, or the seed of the run for "
            "training"
        ),
    ),
]
Span = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--range",
        metavar="LOW HIGH",
        help="for traverse and square: lowest and highest value of a coordinate; default: -1.5 1.5",
    ),
]
PlaneKind = Annotated[
    str | None,
    typer.Option(
        "--plane", help="for codes: pca (default), tsne, or umap (needs `pip install umap-learn`)"
    ),
]
Attributes = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute", metavar="NAME", help="for codes: attribute to colour by; repeatable"
    ),
]


def render(
    run: RunArgument,
    kind: Annotated[
        str, typer.Argument(help=f"{', '.join(KINDS[:-1])} or training (an animation)")
    ],
    out: Out = None,
    n: Count = None,
    seed: Seed = None,
    span: Span = None,
    plane: PlaneKind = None,
    attributes: Attributes = None,
    planes: CutPlanes = None,
    checkpoint: Number = None,
    ema: Weights = True,
    data_root: DataRoot = None,
    names: Names = True,
) -> None:
    """Draw a picture with a caption."""
    check_found(run)
    if kind not in KINDS:
        raise StudioError(f"render {kind}: no such picture{nearest(kind, KINDS)}")
    given = {"--range": span, "--plane": plane, "--attribute": attributes or None}
    for option, owners in OWN.items():
        if given[option] is not None and kind not in owners:
            raise StudioError(f"render {kind}: {option} is for {' and '.join(owners)}")
    if out is not None:
        check_picture(out)
        if kind == "training" and out.suffix.lower() != ".webp":
            raise StudioError(f"--out {out}: an animation is written as .webp")
    if planes is not None and kind in (*OF_DIRECTORIES, "codes"):
        raise StudioError(f"render {kind}: --slice is for pictures of volumes")

    if kind in OF_DIRECTORIES:
        path = _draw_from_directory(run, kind, out, n, seed, checkpoint, ema)
    else:
        from studio.planes import cut_at
        from studio.progress import show_steps
        from studio.render.figure import keep_figures
        from studio.user_run import Run

        options: dict[str, Any] = ({"span": span} if span else {}) | (
            {"plane": plane} if plane else {}
        )
        options |= {"attributes": attributes} if attributes else {}
        opened = Run.open(run, checkpoint, ema, data_root=data_root)
        path = out or opened.folder / "grids" / f"{kind}.png"
        with show_steps(f"render {kind}"), keep_figures() as kept, cut_at(planes, opened.shape):
            picture = opened.render(kind, n, seed or 0, names, **options)
        save_picture(picture, path, kept)
    print(path)


def _draw_from_directory(
    folder: Path,
    kind: str,
    out: Path | None,
    n: int | None,
    seed: int | None,
    number: int | None,
    ema: bool,
) -> Path:
    """Draws the curves or the training animation, writes the picture, and returns its path."""
    from studio.atomic import write_file
    from studio.render.animation import animate, checkpoint_painter
    from studio.render.curves import draw_curves
    from studio.render.figure import keep_figures
    from studio.render.selection import describe_data
    from studio.runs.run import Run

    opened = Run.open(folder, number, ema)
    if kind == "curves":
        path = out or folder / "grids" / "curves.png"
        with keep_figures() as kept:
            picture = draw_curves(folder, opened.config)
        save_picture(picture, path, kept)
        return path
    path = out or folder / "grids" / "training.webp"
    draw = checkpoint_painter(
        folder, describe_data(opened), opened.config.seed if seed is None else seed, ema
    )
    options = {} if n is None else {"most": max(2, n)}
    animation = animate(
        folder,
        opened.images_seen,
        draw,
        saved=ema and seed in (None, opened.config.seed),
        **options,
    )
    encoded = animation.to_webp()
    write_file(path, lambda partial: partial.write_bytes(encoded))
    print(f"{len(animation.frames)} frames: {animation.origin}", file=sys.stderr)
    return path
