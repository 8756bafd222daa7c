"""`studio configs list`, `show` and `copy`."""

import re
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer

from studio.errors import StudioError
from studio.verbs.options import Assignments, expand

__all__ = ["configs_app"]

configs_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The configs that the studio ships: list, show and copy.",
)
Name = Annotated[
    str, typer.Argument(metavar="CFG", help="the name of a config, e.g. digits_dig, or a path")
]


@configs_app.command("list")
def configs_list(
    word: Annotated[
        str, typer.Argument(metavar="[WORD]", help="only names that contain this word")
    ] = "",
) -> None:
    """List the configs by name, with the first sentence of their comment."""
    from studio.config_files import find_config, list_configs

    names = [name.removesuffix(".yaml") for name in list_configs() if word in name]
    if not names:
        raise StudioError(f"configs list {word}: no config has this in its name")
    width = max(map(len, names))
    for name in names:
        about = _first_sentence(find_config(name).read_text(encoding="utf-8"))
        print(f"{name:{width}}  {about}".rstrip())


def _first_sentence(text: str) -> str:
    """Returns the first sentence of the comment at the top of a config."""
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    words = (line.removeprefix("#").strip() for line in lines if "language-server" not in line)
    comment = " ".join(words)
    return re.split(r"[.:](?: |$)", comment)[0]


@configs_app.command("show")
def configs_show(name: Name, assignments: Assignments = None) -> None:
    """Print a config with all its fields, also those that have their defaults."""
    from studio.config_check import refuse_faults

    refuse_faults(name, assignments or [])

    from studio.config import dump, load

    print(dump(load(name, assignments or [])), end="")


@configs_app.command("copy")
def configs_copy(
    name: Name,
    to: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="file to write, or a folder; default: the same name in this folder",
            callback=expand,
        ),
    ] = None,
) -> None:
    """Copy a config to a file of your own, which no update of the studio changes."""
    from studio.atomic import write_text
    from studio.config_files import find_config

    source = find_config(name)
    path = to or Path()
    if path.is_dir():
        path = path / source.name
    if path.suffix not in (".yaml", ".yml"):
        raise StudioError(f"{path}: expected a name that ends in .yaml")
    if path.exists():
        raise StudioError(f"{path}: exists already; give another name")
    if not path.parent.is_dir():
        raise StudioError(f"{path}: the folder {path.parent} does not exist")
    write_text(path, source.read_text(encoding="utf-8"))
    print(path)
