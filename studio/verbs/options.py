"""The options that several verbs have, and the checks that belong to them."""

from pathlib import Path
from typing import Annotated

import typer

from studio.errors import StudioError

__all__ = ["Assignments", "Cfg", "Json", "Number", "RunArgument", "Weights", "check_picture"]

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="a run's directory, e.g. runs/digits_dig-1")
]
Cfg = Annotated[
    str, typer.Option("--cfg", help="a YAML file, or the name of one of the studio's configs")
]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=v", help="override a field; repeatable")
]
Json = Annotated[
    bool, typer.Option("--json", help="print one JSON object on stdout and nothing else")
]
Number = Annotated[
    int | None, typer.Option("--checkpoint", help="images seen; default: the newest")
]
Weights = Annotated[
    bool, typer.Option("--ema/--no-ema", help="averaged weights (default) or the last ones")
]


def check_picture(out: Path) -> None:
    """Refuses a name that is not a picture's, before anything is computed.

    Raises:
        StudioError: another ending.
    """
    if out.suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise StudioError(f"--out {out}: expected a name that ends in .png, .jpg or .webp")
