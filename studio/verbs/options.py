"""Options that several verbs share, and the checks that belong to them."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Assignments",
    "AuthorsWeights",
    "Cfg",
    "CutPlanes",
    "DataRoot",
    "Json",
    "Names",
    "Number",
    "RunArgument",
    "Weights",
    "data_root_setting",
    "expand",
]


def expand(given: Any) -> Any:  # noqa: ANN401 - typer passes paths, lists of paths and None
    """Returns a path, or a list of paths, with a leading ~ replaced by the home folder.

    Every option that is a path has it as its callback, because a shell expands ~ only where it is
    not quoted.
    """
    if isinstance(given, list | tuple):
        return [expand(path) for path in given]
    return Path(os.path.expanduser(given)) if isinstance(given, Path) else given


RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="directory of a run, e.g. runs/digits_dig-1", callback=expand
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="folder of the data, if it is not data.root of the config",
        callback=expand,
    ),
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
Names = Annotated[
    bool,
    typer.Option(
        "--names/--no-names",
        help="name files and subjects; --no-names writes `target 271` instead, as "
        "data.show_names: false does for all commands",
    ),
]
CutPlanes = Annotated[
    tuple[int, int, int] | None,
    typer.Option(
        "--slice",
        metavar="AXIAL CORONAL SAGITTAL",
        help="for volumes: planes to show, counted from the head, the front and the left; "
        "default: the middle",
    ),
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
AuthorsWeights = Annotated[
    bool | None,
    typer.Option(
        "--ema/--no-ema",
        help=(
            "use the averaged weights, or those after the last iteration; default: averaged, and "
            "the last ones with --eval authors"
        ),
        show_default=False,
    ),
]


def data_root_setting(root: Path | None) -> list[str]:
    """Returns `--data-root` as an assignment for `--set`, or nothing if it is not given."""
    # Quoted, because a path may contain characters that YAML or a list of values reads otherwise.
    return [] if root is None else [f"data.root={json.dumps(str(root.absolute()))}"]
