"""Text for terminals: streams that take any text, consoles, and messages of libraries as one line.

A terminal, a pipe or a file may have an encoding without arrows or accents, be closed, or be full.
None of these may stop a verb after its work is done.
"""

import codecs
import logging
import os
import sys
import warnings
from contextlib import suppress
from io import TextIOWrapper

from rich.console import Console

__all__ = ["open_console", "plain_text", "prepare_terminal", "printable"]

# Signs of our tables and sentences for encodings that lack them, each as wide as the sign if it can
# be, so that columns stay aligned.
PLAIN = {
    **{"↑": "^", "↓": "v", "→": ">", "·": ".", "×": "x", "±": "+-", "…": "...", "²": "^2"},
    **{"\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'},
    **{"─": "-", "█": "#", "━": "-", "•": "-"},
}
ERRORS = "studio.plain"  # name of our handler of characters that an encoding lacks
QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
NARROW = 80  # columns of a terminal that does not say how many it has
UNLIMITED = 1_000  # columns of a stream that is no terminal


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replaces characters that an encoding lacks by plain signs, or by their escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or _escape(sign) for sign in found), error.end


def _escape(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode()


codecs.register_error(ERRORS, _replace)


def plain_text(text: str, encoding: str) -> str:
    """Returns a text with plain signs or escapes for all characters that an encoding lacks."""
    return text.encode(encoding, ERRORS).decode(encoding)


def printable(text: str) -> str:
    """Returns a text on one line: control characters, such as those in file names, are escaped."""
    return "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in text)


def prepare_terminal() -> None:
    """Prepares the process of a verb, once, before anything is printed.

    - Streams that are closed lead to nowhere.
    - Characters that the encoding of a stream lacks are replaced.
    - Warnings of libraries are printed as one line, and never become exceptions.
    - matplotlib gets a backend that needs no screen, and keeps its notes about caches to itself.
    """
    _reopen_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=ERRORS)
    os.environ["MPLBACKEND"] = "Agg"  # a notebook sets one that may not be installed here
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    warnings.formatwarning = _format_warning
    if any("error" in option for option in sys.warnoptions):  # PYTHONWARNINGS of another program
        warnings.resetwarnings()
        for category in QUIET:
            warnings.simplefilter("ignore", category)


def _reopen_closed_streams() -> None:
    """Opens the null device for each standard stream that is closed.

    Otherwise the next file that is opened would get the number of the stream, and with it the
    output of libraries.
    """
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - stays open


def _format_warning(message: Warning | str, *_: object, **__: object) -> str:
    """Formats a warning of a library without its line of code."""
    return f"warning: {' '.join(str(message).split())}\n"


def open_console(stderr: bool = False) -> Console:
    """Returns a console on stdout or stderr that breaks no line of text.

    It is as wide as the terminal, or as COLUMNS says. A pipe or a file has no width, so that tables
    are as wide as they need.
    """
    console = Console(stderr=stderr, soft_wrap=True, highlight=False)
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        console.width = int(columns)
    elif not console.is_terminal:
        console.width = UNLIMITED
    elif console.width < 1:  # COLUMNS=0
        console.width = NARROW
    return console
