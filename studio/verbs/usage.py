"""Errors in the use of options, in words instead of those of the library that reads options."""

import re
import sys
from typing import Any

import typer

__all__ = ["UsageError", "print_usage"]

# The parent of all errors of options. Its place differs from version to version of typer.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
EXPECTED = {
    "greater_than_equal": "at least {ge:,}",
    "less_than_equal": "at most {le:,}",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


def print_usage(error: Any) -> None:  # noqa: ANN401 - a class without a public name
    """Prints what is wrong with an option on one line of stderr, or the help if none is given."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    verb = error.ctx.command_path if error.ctx is not None else "studio"
    print(f"error: {_describe(error)}; {verb} --help lists what is valid", file=sys.stderr)


def _describe(error: Any) -> str:  # noqa: ANN401
    text = " ".join(error.format_message().split()).rstrip(".")
    named = re.match(r"Invalid value for (.*?): ", text)
    faults = getattr(error.__cause__, "errors", list)()
    if named and faults:
        fault, option = faults[0], named[1].replace("'", "")
        kind = next((kind for kind in EXPECTED if fault["type"].startswith(kind)), None)
        if kind is not None:
            expected = EXPECTED[kind].format_map(fault.get("ctx", {}))
            return f"{option} {fault['input']}: expected {expected}"
    if named:
        return f"{named[1]}: {text[named.end() :]}".replace("'", "")
    return text[:1].lower() + text[1:]
