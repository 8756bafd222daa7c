"""The rows of a comparison: variants of configs, from the command line or from a sweep file.

A sweep file (a path, or a name in `configs/sweeps/`) varies one or several configs:

    about: Table 3 of Carton et al. (2024)
    base: digits_dig                        # a config, or a list of configs
    seeds: 3                                # trainings per row. --seeds overrides it
    budget: 100_000                         # images of every training. --budget overrides it
    set: {train.keep: 1}                    # overrides for all rows
    show: [disentangle.factorvae]           # numbers that the table shows in addition to the probes
    rows:                                   # label: overrides
      full: {}
      no class: {method.weights.class: 0}

Instead of `rows`, `grid: {data.grass_scale: [0, 0.5, 1], method.s: [2, 4]}` makes a row of every
combination. On the command line `--set a.b=v1,v2` is a grid, too. Commas outside brackets, braces
and quotes separate values.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from studio.compare.labels import describe_overrides, folder_name, join_words, to_json
from studio.compare.variant import Variant
from studio.config import (
    Config,
    find_config,
    parse_assignment,
    read_yaml,
    resolve,
    validate_section,
)
from studio.config_files import find_config_or_sweep, list_sweeps
from studio.errors import StudioError
from studio.limits import Most
from studio.runs.folder import FREE_TO_CHANGE
from studio.schema import Section

__all__ = [
    "Sweep",
    "comparison_name",
    "find_config_or_sweep",
    "list_sweeps",
    "parse_values",
    "resolve_variants",
]

SEEDS = 3  # trainings per row, unless the command line or the sweep says otherwise
Overrides = dict[str, Any]


class Sweep(Section):
    """A sweep file.

    Attributes:
        about: the table or figure that it reproduces.
        base: one or several configs. A path is looked for in the sweep's own folder first.
        seeds: trainings per row.
        budget: real images per training. None takes that of each config.
        show: keys of the numbers that the table or figure reports.
        set: overrides for every row.
        rows: label -> overrides.
        grid: field -> values. Every combination is a row.
        each: field -> values. The training with seed i of every row has the i-th value, and the
            first again after the last, so that a row is a mean over folds, for example.
    """

    about: str = ""
    base: list[str] = Field(min_length=1)
    seeds: int | None = Field(default=None, ge=1, le=Most.COUNT)
    budget: int | None = Field(default=None, ge=1, le=Most.IMAGES)
    show: list[str] = Field(default=[])
    set: Overrides = Field(default={})
    rows: dict[str, Overrides] = Field(default={})
    grid: dict[str, list[Any]] = Field(default={})
    each: dict[str, list[Any]] = Field(default={})

    @field_validator("base", mode="before")
    @classmethod
    def _to_list(cls, given: object) -> object:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check_rows_and_grid(self) -> Self:
        if self.rows and self.grid:
            raise ValueError("found both rows and grid, expected one of them")
        for part, axes in (("grid", self.grid), ("each", self.each)):
            empty = [key for key, values in axes.items() if not values]
            if empty:
                raise ValueError(f"{part}.{empty[0]}: found no value")
        return self

    def trainings(self, seeds: int | None) -> dict[int, Overrides]:
        """Returns seed -> overrides of that training alone.

        Args:
            seeds: number of trainings. None takes that of the file, or the number of values of
                `each`, or 3.
        """
        most = max(map(len, self.each.values()), default=SEEDS)
        return {
            seed: {key: values[seed % len(values)] for key, values in self.each.items()}
            for seed in range(seeds or self.seeds or most)
        }

    def combinations(self) -> Iterator[tuple[str, Overrides]]:
        """Yields the label and the overrides of every row. A sweep without rows has one,
        unlabelled."""
        if self.rows:
            yield from self.rows.items()
            return
        for overrides in _product(self.grid):
            yield describe_overrides(overrides), overrides


def resolve_variants(
    cfgs: Sequence[str],
    assignments: Sequence[str] = (),
    seeds: int | None = None,
    budget: int | None = None,
) -> list[Variant]:
    """Resolves all rows of a comparison before any training starts.

    Args:
        cfgs: configs and sweeps, by path or name.
        assignments: `a.b=v` for all rows, `a.b=v1,v2` for every combination.
        seeds: trainings per row. None takes the value of the sweep, or 3.
        budget: real images per training. None takes the value of the sweep, or of each config.

    Raises:
        StudioError: a name, an override or a field is invalid. The message has the nearest valid
            one.
    """
    axes = _axes(assignments, budget)
    fixed = {key: values[0] for key, values in axes.items() if len(values) == 1}
    varied = {key: values for key, values in axes.items() if len(values) > 1}
    found: list[Variant] = []
    faults: dict[str, list[str]] = {}
    for cfg in cfgs:
        name, sweep = _open(cfg)
        images = budget or (None if "train.images" in axes else sweep.budget)
        budgets = {} if images is None else {"train.images": images}
        _refuse_fields_varied_twice(name, sweep, axes)
        for base, (row, overrides), more in itertools.product(
            sweep.base, sweep.combinations(), _product(varied)
        ):
            stem = Path(base).stem
            words = [
                stem if len(sweep.base) > 1 or stem == name else "",
                row,
                describe_overrides(more),
            ]
            label = join_words([name if len(cfgs) > 1 and stem != name else "", *words]) or name
            folder = folder_name(
                join_words(
                    [
                        name if stem != name else "",
                        *words,
                        describe_overrides(fixed, FREE_TO_CHANGE),
                    ]
                )
            )
            each = sweep.trainings(seeds)
            try:
                config, given = _resolve(
                    base, {**sweep.set, **budgets}, overrides, {**fixed, **budgets}, more
                )
                own = _resolve_each(base, given, each) if sweep.each else {}
            except StudioError as error:
                faults.setdefault(str(error), []).append(label)
                continue
            found.append(
                Variant(label, folder, base, given, config, len(each), tuple(sweep.show), each, own)
            )
    if faults:
        rows = len(found) + sum(map(len, faults.values()))
        raise StudioError(
            "\n".join(_describe_fault(text, labels, rows) for text, labels in faults.items())
        )
    _refuse_shared_folders(found)
    return found


def comparison_name(cfgs: Sequence[str]) -> str:
    """Returns a name for a comparison of these configs and sweeps that is valid for a folder."""
    return folder_name("+".join(Path(cfg).stem for cfg in cfgs))


def parse_values(assignment: str) -> tuple[str, list[Any]]:
    """Parses `a.b=v1,v2` into the field and its values.

    Commas outside brackets, braces and quotes separate values.

    Raises:
        StudioError: the text is no assignment, or a value between two commas is missing.
    """
    key, equals, text = assignment.partition("=")
    parts = list(_split(text))
    if len(parts) > 1 and not all(part.strip() for part in parts):
        raise StudioError(
            f"--set {assignment}: a value is missing; quote a comma that belongs to a value"
        )
    parsed = [parse_assignment(f"{key}{equals}{part}") for part in parts]
    return parsed[0][0], [value for _, value in parsed]


def _split(text: str) -> Iterator[str]:
    start, depth, quote, before = 0, 0, "", ""
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and before != "\\" else quote
        # Elsewhere a quote is part of a plain word.
        elif letter in "'\"" and before in ("", ",", "[", "{", ":"):
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:i]
            start = i + 1
        before = letter if letter != " " or quote else before
    yield text[start:]


def _axes(assignments: Sequence[str], budget: int | None) -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for assignment in assignments:
        key, values = parse_values(assignment)
        if key == "seed":
            raise StudioError(
                f"--set {assignment}: --seeds says how many seeds every row is trained with"
            )
        if key == "train.images" and budget is not None:
            raise StudioError(
                f"--set {assignment}: --budget {budget} says the same; give one of them"
            )
        if key in axes:
            raise StudioError(
                f"--set {assignment}: {key} is given twice; several values go in one: {key}=v1,v2"
            )
        axes[key] = values
    return axes


def _open(cfg: str) -> tuple[str, Sweep]:
    """Opens a config or a sweep, given by its path or by the name of a shipped one."""
    path = find_config_or_sweep(cfg)
    raw = read_yaml(path)
    if "base" not in raw:
        return path.stem, Sweep(base=[cfg])
    sweep = validate_section(Sweep, raw, str(path))
    bases = [
        str(path.parent / base) if (path.parent / base).is_file() else base for base in sweep.base
    ]
    for base in bases:
        try:
            find_config(base)
        except StudioError as error:
            raise StudioError(f"{path}: base: {str(error).removeprefix('--cfg ')}") from None
    return path.stem, sweep.model_copy(update={"base": bases})


def _resolve(
    base: str, common: Overrides, row: Overrides, fixed: Overrides, varied: Overrides
) -> tuple[Config, tuple[str, ...]]:
    """Resolves one row.

    The paper's values are kept only if the paper measured this row, or if the row states its own.
    """
    path = find_config(base)
    raw = read_yaml(path)
    given = _assignments(common, row, fixed, varied)
    config = resolve(raw, path.stem, str(path), given)
    named = any(key.partition(".")[0] == "paper" for key in row)
    if (
        config.paper is not None
        and not named
        and config != resolve(raw, path.stem, str(path), _assignments(common, fixed))
    ):
        given.append("paper=null")
        config = config.model_copy(update={"paper": None})
    return config, tuple(given)


def _resolve_each(
    base: str, given: Sequence[str], each: Mapping[int, Overrides]
) -> dict[int, Config]:
    """Returns the config of each training of a row."""
    path = find_config(base)
    raw = read_yaml(path)
    return {
        seed: resolve(raw, path.stem, str(path), [*given, *_assignments(own)])
        for seed, own in each.items()
    }


def _refuse_fields_varied_twice(name: str, sweep: Sweep, axes: Mapping[str, Any]) -> None:
    own = {key for _, overrides in sweep.combinations() for key in overrides} | {*sweep.each}
    for key in axes:
        clash = [k for k in own if f"{k}.".startswith(f"{key}.") or f"{key}.".startswith(f"{k}.")]
        if clash:
            raise StudioError(f"--set {key}=...: {name} varies {clash[0]} itself")


def _refuse_shared_folders(found: Sequence[Variant]) -> None:
    for folder, count in Counter(variant.folder for variant in found).items():
        if count > 1:
            labels = [variant.label for variant in found if variant.folder == folder]
            raise StudioError(
                f"{count} rows would share the folder {folder}-seed0: {', '.join(labels)}; "
                "give them other names"
            )


def _product(grid: Mapping[str, Sequence[Any]]) -> Iterator[Overrides]:
    """Yields every combination of the values of some fields."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _assignments(*parts: Overrides) -> list[str]:
    """Returns the values of `studio train --set`. The last value of a field counts."""
    merged: Overrides = {}
    for part in parts:
        for key, value in part.items():
            # Moved to the end, because a complete section must not undo a later override.
            merged.pop(key, None)
            merged[key] = value
    return [f"{key}={to_json(key, value)}" for key, value in merged.items()]


def _describe_fault(text: str, labels: Sequence[str], rows: int) -> str:
    """Returns a fault with the rows that it affects, or without them if it affects all."""
    if len(labels) == rows:
        return text
    others = f" and {len(labels) - 3} more rows" if len(labels) > 3 else ""
    return f"{', '.join(labels[:3])}{others}: {text}"
