"""Options that several verbs share, and the checks that belong to them."""

from pathlib import Path
from typing import Annotated

import typer

from studio.errors import StudioError

__all__ = ["Assignments", "Cfg", "Json", "Number", "RunArgument", "Weights", "check_picture"]

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="directory of a run, e.g. runs/digits_dig-1")
]
Cfg = Annotated[
    str, typer.Option("--cfg", help="path of a YAML file, or the name of a config of the studio")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=v", help="set field b of section a to v; repeatable"),
]
Json = Annotated[
    bool, typer.Option("--json", help="print one JSON object on stdout and nothing else")
]
Number = Annotated[
    int | None,
    typer.Option(
        "--checkpoint", help="checkpoint by its number of images seen; default: the newest"
    ),
]
Weights = Annotated[
    bool,
    typer.Option(
        "--ema/--no-ema", help="use the averaged weights, or those after the last iteration"
    ),
]


def check_picture(out: Path) -> None:
    """Refuses a file name without the ending of a picture, before anything is computed.

    Raises:
        StudioError: the name does not end in .png, .jpg, .jpeg or .webp.
    """
    if out.suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise StudioError(f"--out {out}: expected a name that ends in .png, .jpg or .webp")
