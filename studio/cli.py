"""The command line: collects the verbs, and prints an error that the user can fix as one line."""

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer

from studio import __version__
from studio.errors import StudioError
from studio.terminal import prepare_terminal
from studio.verbs.analyse import analyse
from studio.verbs.app import app as app_verb
from studio.verbs.apply import apply
from studio.verbs.bench import bench
from studio.verbs.codes import codes
from studio.verbs.compare import compare
from studio.verbs.configs import configs_app
from studio.verbs.data import data_app
from studio.verbs.export import export
from studio.verbs.probe import probe
from studio.verbs.render import render
from studio.verbs.report import report
from studio.verbs.score import score
from studio.verbs.train import train
from studio.verbs.usage import UsageError, print_usage

__all__ = ["app", "main", "train_main"]

HELP = {"help_option_names": ["-h", "--help"]}
NO_MEMORY = "out of memory; smaller nets.width, train.batch or data.resolution need less"

app = typer.Typer(
    name="studio",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
    help="A generative studio for contrastive analysis.",
)
VERBS = (train, render, probe, score, report, compare, app_verb, apply, export, bench)
for verb in (*VERBS, codes, analyse):
    app.command(context_settings=HELP)(verb)
for group, name in ((data_app, "data"), (configs_app, "configs")):
    app.add_typer(group, name=name, context_settings=HELP)
    for command in group.registered_commands:
        command.context_settings = HELP


def _print_version(asked: bool) -> None:
    if asked:
        print(f"studio {__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs a verb.

    An error that the user can fix becomes one line on stderr and exit code 2.
    """
    _run(app)


def train_main() -> None:
    """Runs `studio train` alone: the entry point of `studio/train.py`."""
    single = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    single.command(context_settings=HELP)(train)
    _run(single)


def _run(command: Callable[..., object]) -> None:
    """Runs a command, and exits with a message and a code instead of a traceback."""
    prepare_terminal()
    try:
        try:
            code = command(standalone_mode=False)
        finally:
            sys.stdout.flush()
    except UsageError as error:
        print_usage(error)
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # for example `studio data list | head`
        _drop_stdout()
        raise SystemExit(141) from None
    except (StudioError, OSError, UnicodeEncodeError, MemoryError) as error:
        print(f"error: {_describe(error)}", file=sys.stderr)
        _drop_stdout()
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not re.search(r"allocate memory|out of memory", str(error), re.IGNORECASE):
            raise
        print(f"error: {NO_MEMORY}", file=sys.stderr)
        raise SystemExit(2) from None
    if isinstance(code, int) and code:  # of `typer.Exit`
        raise SystemExit(code)


def _describe(error: BaseException) -> str:
    """Describes an error that the user can fix."""
    if isinstance(error, OSError):
        where = error.filename or "a file or the output cannot be written"
        return f"{where}: {error.strerror or error}"
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{error.object!r} cannot be written as {error.encoding}, the encoding of this system; "
            "PYTHONUTF8=1 uses UTF-8"
        )
    return NO_MEMORY if isinstance(error, MemoryError) else str(error)


def _drop_stdout() -> None:
    """Sends the rest of the output nowhere, because Python writes it once more when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
