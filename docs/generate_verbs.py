"""The page of all verbs, generated from the typed functions behind them."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

import typer

from studio import cli

__all__ = ["Option", "options_of", "verbs", "verbs_page"]

INTRODUCTION = """\
# Verbs

*This page is generated from the code.*

`studio VERB --help` prints the same options. A verb with `--json` prints one JSON object on stdout
and nothing else ([its keys](json.md)), and every message goes to stderr. `studio/train.py` takes
the options of `studio train`. It is the script that `accelerate launch` and `torchrun` start
([launch lines](../how-to/clusters.md)).

| exit code | meaning |
| --- | --- |
| 0 | Done. |
| 1 | `data check`: the data set is incomplete. `compare`: a run failed. |
| 2 | Options, config, data or run have an error, which stderr names in one message. |
| 75 | Training was stopped and has saved. `--resume` continues it. |
| 130 | Ctrl-C. Training has saved. |
"""


class Option(NamedTuple):
    """An argument or option of a verb.

    Attributes:
        name: as typed, with its value: `--run PATH`, `RUN`.
        default: the default in code style, or `required`.
        help: the explanation.
    """

    name: str
    default: str
    help: str


def verbs() -> dict[str, Callable[..., object]]:
    """Returns the function behind every verb, by the verb's full name, for example `data check`."""
    return dict(sorted(_registered(cli.app, "")))


def _registered(app: typer.Typer, prefix: str) -> Iterator[tuple[str, Callable[..., object]]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield prefix + (command.name or command.callback.__name__), command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _registered(group.typer_instance, f"{prefix}{group.name} ")


def options_of(verb: Callable[..., object]) -> list[Option]:
    """Returns the arguments and options of a verb in their order."""
    hints = get_type_hints(verb, include_extras=True)
    return [
        _option(parameter, hints[name])
        for name, parameter in inspect.signature(verb).parameters.items()
    ]


def _option(parameter: inspect.Parameter, hint: Any) -> Option:
    kind, info = get_args(hint)
    text = " ".join((info.help or "").split())
    required = parameter.default is inspect.Parameter.empty
    if isinstance(info, type(typer.Argument())):
        return Option(info.metavar or parameter.name.upper(), "required" if required else "", text)
    # Inside of Annotated, typer takes the first name for a default until it reads the function.
    names = [name for name in (info.default, *info.param_decls) if str(name).startswith("--")]
    on, _, off = names[0].partition("/")
    if kind in (bool, bool | None):
        default = f"`{on if parameter.default else off}`" if off else "off"
        if parameter.default is None:
            default = "see the text"
        return Option(f"{on}/{off}" if off else on, default, text)
    default = "required" if required else ""
    if not required and parameter.default is not None:
        default = f"`{parameter.default}`"
    return Option(f"{on} {info.metavar or _value_name(kind)}", default, text)


def _value_name(kind: Any) -> str:
    """Returns a placeholder for values of a type."""
    parts = [part for part in get_args(kind) if part is not NoneType] or [kind]
    return {int: "N", float: "X", Path: "PATH"}.get(parts[0], "TEXT")


def verbs_page() -> str:
    """Returns the page of all verbs with their arguments and options."""
    return "\n".join([INTRODUCTION, *(_verb(name, verb) for name, verb in verbs().items())])


def _verb(name: str, verb: Callable[..., object]) -> str:
    options = options_of(verb)
    arguments = [option.name for option in options if not option.name.startswith("--")]
    usage = " ".join([f"studio {name}", *arguments, "[OPTIONS]"])
    rows = "".join(
        f"| `{_cell(option.name)}` | {option.default} | {_sentence(option.help)} |\n"
        for option in options
    )
    return (
        f"## studio {name} {{: #{name.replace(' ', '-')} }}\n\n{inspect.getdoc(verb)}\n\n"
        f"    {usage}\n\n| option | default | meaning |\n| --- | --- | --- |\n{rows}"
    )


def _sentence(text: str) -> str:
    text = _cell(text)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
