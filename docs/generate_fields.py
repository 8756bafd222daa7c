"""The pages of all config fields, generated from the pydantic models."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from studio import config, data, methods, schema
from studio.analysis_config import AnalysisConfig
from studio.method import MethodConfig

__all__ = ["data_page", "methods_page", "sections_page"]

GENERATED = "*This page is generated from the code.*\n"


def sections_page() -> str:
    """Returns the page of the fields that every config has."""
    parts = [
        "# Sections of every config\n",
        GENERATED,
        "A config has the sections `data` ([data sets](data.md)), `method` "
        "([methods](methods.md)), `nets`, `train`, `analysis` and, if a paper reports results, "
        "`paper`. "
        "[How configs work](../config.md) explains overrides.\n",
        _section("Top level", "", config.Head),
        _section("nets", "nets", schema.NetsConfig),
        _section("A layer of nets.encoder, nets.head or nets.decoder", "", schema.Layer),
        _section("train", "train", schema.TrainConfig),
        *(
            _section(f"{part.__name__}, inside of train", "", part)
            for part in _inner_sections(schema.TrainConfig)
        ),
        _section("analysis", "analysis", AnalysisConfig),
        _section("paper", "paper", schema.PaperConfig),
    ]
    for part in _inner_sections(schema.PaperConfig):
        parts.append(_section(f"{part.__name__}, inside of paper", "", part))
    return "\n".join(parts)


def methods_page() -> str:
    """Returns the page of the `method` section of every method."""
    parts = ["# The method section\n", GENERATED]
    for name, method in methods.METHODS.items():
        section: type[MethodConfig] = method.Config
        parts.append(_section(name, "method", section))
        if method.paper:
            parts.append(f"Paper: {_cell(method.paper)}\n")
        if section.default_weights:
            rows = "".join(
                f"| {_code(f'method.weights.{term}')} | {_code(_text(weight))} |\n"
                for term, weight in section.default_weights.items()
            )
            parts.append(f"| weight | default |\n| --- | --- |\n{rows}")
        if section.train_defaults:
            rows = ", ".join(
                _code(f"train.{field}: {_text(value)}")
                for field, value in section.train_defaults.items()
            )
            parts.append(f"Defaults of the `train` section for this method: {rows}.\n")
    return "\n".join(parts)


def data_page() -> str:
    """Returns the page of the `data` section of every data set."""
    parts = ["# The data section\n", GENERATED]
    for name, dataset in data.DATASETS.items():
        parts.append(_section(name, "data", dataset.Config))
        for alias, full in data.ALIASES.items():
            if full == name:
                parts.append(f"`data.name: {alias}` is short for `{name}`.\n")
    return "\n".join(parts)


def _section(title: str, path: str, section: type[schema.Section]) -> str:
    summary = " ".join((section.__doc__ or "").split("\n\n")[0].split())
    head = "| field | values | default | meaning |\n| --- | --- | --- | --- |\n"
    return f"## {title}\n\n{summary}\n\n{head}{''.join(_rows(path, section))}"


def _rows(path: str, section: type[schema.Section]) -> Iterator[str]:
    """Yields a row for each field, and for each field of a section that is the value of a field."""
    docs = schema.field_docs(section)
    for name, field in section.model_fields.items():
        full = f"{path}.{name}" if path else name
        if isinstance(field.annotation, type) and issubclass(field.annotation, schema.Section):
            yield from _rows(full, field.annotation)
            continue
        text = _cell(docs[name].description)
        if docs[name].unit and docs[name].unit != "none":
            text += f" Unit: {_cell(str(docs[name].unit))}."
        if docs[name].source:
            text += f" *Source: {_cell(str(docs[name].source))}.*"
        yield f"| {_code(full)} | {_kind(field)} | {_default(full, field)} | {text} |\n"


def _default(path: str, field: Any) -> str:
    if path == "name":
        return "the file name"
    return "required" if field.is_required() else _code(_text(field.get_default()))


def _inner_sections(section: type[schema.Section]) -> list[type[schema.Section]]:
    found: dict[str, type[schema.Section]] = {}
    for field in section.model_fields.values():
        for part in _classes(field.annotation):
            if issubclass(part, schema.Section):
                found[part.__name__] = part
    return list(found.values())


def _classes(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)


def _kind(field: Any) -> str:
    bounds = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([_annotation(field.annotation), *bounds])


def _annotation(annotation: Any) -> str:
    """Describes a type for a reader of YAML."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(_code(str(part)) for part in parts)
    if annotation is None or annotation is type(None):
        return "`null`"
    if hasattr(annotation, "__metadata__"):
        return _annotation(parts[0])
    if origin in (list, tuple):
        return "list of " + (_annotation(parts[0]) if parts else "values")
    if origin is dict:
        return f"mapping from name to {_annotation(parts[1])}"
    if parts:
        return " or ".join(_annotation(part) for part in parts)
    names = {"int": "integer", "float": "number", "str": "text", "bool": "true or false"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, f"a section {_code(name)}")


def _text(value: object) -> str:
    if isinstance(value, schema.Section):
        return "{}"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:_}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(part) for part in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(part)}" for key, part in value.items()) + "}"
    return "''" if value == "" else str(value)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
