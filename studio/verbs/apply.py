"""`studio apply`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from studio.errors import StudioError
from studio.verbs.options import DataRoot, Json, Number, RunArgument, Weights, expand

__all__ = ["apply"]

SET_ASIDE = 3  # exit code if files were set aside

Donors = Annotated[
    Path | None,
    typer.Option(
        "--with",
        callback=expand,
        help=(
            "for swap: an image that gives its salient content to all, or a folder of as many as IN"
        ),
    ),
]
SliceChoice = Annotated[
    str | None,
    typer.Option(
        "--slice",
        help="slices of volumes: middle, a number, all, or FIRST:LAST or FIRST:LAST:STEP with both "
        "ends; default: those of the data set",
    ),
]
Window = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--window",
        metavar="LOW HIGH",
        help="values of black and white in all files; default: those of the run",
    ),
]


def apply(
    run: RunArgument,
    source: Annotated[
        Path,
        typer.Argument(
            callback=expand,
            metavar="IN",
            help="an image or a volume (png, jpg, tif, webp, bmp, npy, dcm, nrrd, mha, nii or "
            "nii.gz), for vectors csv, npy or h5ad, or a folder of them",
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            callback=expand,
            metavar="OUT",
            help="a folder: codes.csv and KIND/... with the names of IN",
        ),
    ],
    what: Annotated[
        list[str] | None,
        typer.Option(
            "--what", help="encode, reconstruct, heal (default), swap or score; repeatable"
        ),
    ] = None,
    donors: Donors = None,
    difference: Annotated[
        bool, typer.Option("--difference", help="also write |reconstruction - healed|")
    ] = False,
    chosen: SliceChoice = None,
    window: Window = None,
    force: Annotated[bool, typer.Option("--force", help="replace files that exist")] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="continue the same command after it was stopped"),
    ] = False,
    as_json: Json = False,
    checkpoint: Number = None,
    ema: Weights = True,
    data_root: DataRoot = None,
) -> None:
    """Encode, heal or swap your own files.

    Exit code 3: files were set aside, all others are done.
    """
    if force and skip_existing:
        raise StudioError("--force and --skip-existing: expected one of them")
    if window is not None and not window[0] < window[1]:
        raise StudioError(f"--window {window[0]:g} {window[1]:g}: expected LOW below HIGH")
    number = _slice(chosen)

    from studio.apply import apply as apply_to
    from studio.runs.run import Run

    opened = Run.open(run, checkpoint, ema, data_root=data_root)
    done = apply_to(
        opened,
        source,
        out,
        what or ["heal" if donors is None else "swap"],
        donors,
        difference,
        number,
        window,
        force,
        skip_existing,
        progress=True,
    )
    if as_json:
        print(json.dumps(done, indent=2, allow_nan=False))
    else:
        _print_report(done)
    if done["set_aside"]:
        raise typer.Exit(SET_ASIDE)


def _print_report(done: dict[str, Any]) -> None:
    """Prints the written paths, and the notes and unused files on stderr."""
    from studio.data.io.names import format_lines

    for note in done["notes"]:
        print(f"note: {note}", file=sys.stderr)
    if done["skipped"]:
        print(f"note: {done['skipped']} files were done before", file=sys.stderr)
    tables = [done["codes"], *([done["scores"]] if done["scores"] else [])]
    print("\n".join([*tables, *(str(Path(done["out"], kind)) for kind in done["what"])]))
    if done["set_aside"]:
        sys.stdout.flush()
        lines = [f"{name} {reason}" for name, reason in done["set_aside"]]
        counts = f"{len(lines)} of {done['files'] + done['skipped'] + len(lines)} files"
        print(f"warning: {counts} are set aside{format_lines(lines)}", file=sys.stderr)


def _slice(given: str | None) -> int | tuple[int, ...] | Literal["middle", "all"] | None:
    """Parses `--slice`."""
    if given is None or given == "middle" or given == "all":
        return given
    if given.isascii() and given.isdigit():
        return int(given)
    parts = given.split(":")
    if len(parts) in (2, 3) and all(part.isascii() and part.isdigit() for part in parts):
        numbers = tuple(map(int, parts))
        if numbers[0] <= numbers[1] and 0 not in numbers[2:]:
            return numbers
    raise StudioError(
        f"--slice {given}: expected middle, all, a number from 0, or FIRST:LAST with FIRST <= LAST"
    )
