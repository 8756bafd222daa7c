"""What a comparison trains: variants of configs, from the command line or from a sweep file.

A sweep file (a path, or a name in `configs/sweeps/`) varies one config or several:

    about: Table 3 of Carton et al. (2024) base: digits_dig                        # a config, or a
    list of them seeds: 3                                # the papers launch several trainings;
    --seeds overrides it budget: 100_000                         # images of every training;
    --budget overrides it set: {train.keep: 1}                    # overrides for all show:
    [disentangle.factorvae]           # numbers that the table shows beside what is read from the
    codes rows:                                   # label: overrides
      full: {}
      no class: {method.weights.class: 0}

or, instead of `rows`, `grid: {data.grass_scale: [0, 0.5, 1], method.s: [2, 4]}`: every combination.
On the command line `--set a.b=v1,v2` is a grid, too: commas outside brackets, braces and quotes
separate values.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from studio.config import (
    FOLDERS,
    Config,
    find_config,
    list_configs,
    parse_assignment,
    read_yaml,
    resolve,
    validate_section,
)
from studio.errors import StudioError, nearest
from studio.runs.folder import FREE_TO_CHANGE
from studio.schema import Section

__all__ = ["Sweep", "Variant", "available_sweeps", "comparison_name", "values_of", "variants"]

SEEDS = 3  # trainings per row where neither the command line nor the sweep says how many
LONGEST = 120  # characters of a folder's name
Overrides = dict[str, Any]


class Sweep(Section):
    """A sweep file.

    Attributes:
        about: the table or figure that it repeats.
        base: a config, or several; a path is taken from the sweep's own folder first.
        seeds: trainings per row.
        budget: real images per training; the config's own where not given.
        show: keys of the numbers that the table or figure reports.
        set: overrides for every row.
        rows: label -> overrides.
        grid: field -> values; every combination is a row.
    """

    about: str = ""
    base: list[str] = Field(min_length=1)
    seeds: int | None = Field(default=None, ge=1)
    budget: int | None = Field(default=None, ge=1)
    show: list[str] = Field(default=[])
    set: Overrides = Field(default={})
    rows: dict[str, Overrides] = Field(default={})
    grid: dict[str, list[Any]] = Field(default={})

    @field_validator("base", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _rows_or_grid(self) -> Self:
        if self.rows and self.grid:
            raise ValueError("found both rows and grid, expected one of them")
        empty = [key for key, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"grid.{empty[0]}: found no value")
        return self

    def combinations(self) -> Iterator[tuple[str, Overrides]]:
        """Returns the label and the overrides of every row; one without a label where the sweep has
        none."""
        if self.rows:
            yield from self.rows.items()
            return
        for overrides in _product(self.grid):
            yield _words(overrides), overrides


@dataclass(frozen=True)
class Variant:
    """One row of a comparison: a config with its overrides, trained with several seeds.

    Attributes:
        label: its name in the table.
        folder: of its runs, before `-seedN`; the same whatever it is compared with.
        cfg: what `studio train --cfg` takes.
        assignments: what `studio train --set` takes, but for the seed.
        config: resolved, with seed 0.
        seeds: trainings, with seeds 0 to `seeds` - 1.
        show: keys of the numbers that the sweep is about.
    """

    label: str
    folder: str
    cfg: str
    assignments: tuple[str, ...]
    config: Config
    seeds: int
    show: tuple[str, ...] = ()

    def at(self, seed: int) -> Config:
        """Returns the config of one training."""
        return self.config.model_copy(update={"seed": seed})


def variants(
    cfgs: Sequence[str],
    assignments: Sequence[str] = (),
    seeds: int | None = None,
    budget: int | None = None,
) -> list[Variant]:
    """Resolves everything that is to be compared, before anything is trained.

    Args:
        cfgs: configs and sweeps, by path or name.
        assignments: `a.b=v` for all, `a.b=v1,v2` for every combination.
        seeds: trainings per row; else the sweep's, else 3.
        budget: real images per training; else the sweep's, else each config's.

    Raises:
        StudioError: a name, an override or a field is wrong; says which, and the nearest that
            exists.
    """
    axes = _axes(assignments, budget)
    fixed = {key: values[0] for key, values in axes.items() if len(values) == 1}
    varied = {key: values for key, values in axes.items() if len(values) > 1}
    found: list[Variant] = []
    faults: dict[str, list[str]] = {}
    for cfg in cfgs:
        name, sweep = _opened(cfg)
        images = budget or (None if "train.images" in axes else sweep.budget)
        budgets = {} if images is None else {"train.images": images}
        _refuse_twice_varied(name, sweep, axes)
        for base, (row, overrides), more in itertools.product(
            sweep.base, sweep.combinations(), _product(varied)
        ):
            stem = Path(base).stem
            words = [stem if len(sweep.base) > 1 or stem == name else "", row, _words(more)]
            label = _joined([name if len(cfgs) > 1 and stem != name else "", *words]) or name
            folder = _folder(
                _joined([name if stem != name else "", *words, _words(fixed, FREE_TO_CHANGE)])
            )
            try:
                config, given = _resolved(
                    base, {**sweep.set, **budgets}, overrides, {**fixed, **budgets}, more
                )
            except StudioError as error:
                faults.setdefault(str(error), []).append(label)
                continue
            found.append(
                Variant(
                    label,
                    folder,
                    base,
                    given,
                    config,
                    seeds or sweep.seeds or SEEDS,
                    tuple(sweep.show),
                )
            )
    if faults:
        rows = len(found) + sum(map(len, faults.values()))
        raise StudioError("\n".join(_fault(text, labels, rows) for text, labels in faults.items()))
    _refuse_shared_folders(found)
    return found


def comparison_name(cfgs: Sequence[str]) -> str:
    """Returns a name for comparing these configs and sweeps, fit for a folder."""
    return _folder("+".join(Path(cfg).stem for cfg in cfgs))


def available_sweeps() -> list[str]:
    """Returns the file names of the sweeps that come with the studio."""
    return sorted({path.name for folder in FOLDERS for path in (folder / "sweeps").glob("*.yaml")})


def values_of(assignment: str) -> tuple[str, list[Any]]:
    """Takes `a.b=v1,v2` apart: commas outside brackets, braces and quotes separate values.

    Raises:
        StudioError: it is no assignment, or a value between two commas is missing.
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
        elif letter in "'\"" and before in (
            "",
            ",",
            "[",
            "{",
            ":",
        ):  # elsewhere it is a letter of a plain word
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
        key, values = values_of(assignment)
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


def _opened(cfg: str) -> tuple[str, Sweep]:
    """Finds a config or a sweep: the path as given, then the studio's configs, then its sweeps."""
    path = _found(cfg)
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


def _found(cfg: str) -> Path:
    try:
        return find_config(cfg)
    except StudioError:
        for folder in FOLDERS:
            for candidate in (folder / "sweeps" / cfg, folder / "sweeps" / f"{cfg}.yaml"):
                if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
                    return candidate
        if Path(cfg).is_dir():
            raise
    raise StudioError(
        f"compare {cfg}: no such file, config or sweep{nearest(Path(cfg).name, _names())}"
    ) from None


def _names() -> list[str]:
    return [name.removesuffix(".yaml") for name in [*list_configs(), *available_sweeps()]]


def _resolved(
    base: str, common: Overrides, row: Overrides, fixed: Overrides, varied: Overrides
) -> tuple[Config, tuple[str, ...]]:
    """Resolves one row. The paper's values stay only where the row is what the paper measured, or
    names its own."""
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


def _refuse_twice_varied(name: str, sweep: Sweep, axes: Mapping[str, Any]) -> None:
    own = {key for _, overrides in sweep.combinations() for key in overrides}
    for key in axes:
        clash = [k for k in own if f"{k}.".startswith(f"{key}.") or f"{key}.".startswith(f"{k}.")]
        if clash:
            raise StudioError(f"--set {key}=...: {name} varies {clash[0]} itself")


def _refuse_shared_folders(found: Sequence[Variant]) -> None:
    for folder, count in Counter(variant.folder for variant in found).items():
        if count > 1:
            labels = [variant.label for variant in found if variant.folder == folder]
            raise StudioError(
                f"{count} rows would share the folder {folder}-seed0: {', '.join(labels)}; give them other names"
            )


def _product(grid: Mapping[str, Sequence[Any]]) -> Iterator[Overrides]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _assignments(*parts: Overrides) -> list[str]:
    """Returns what `studio train --set` takes; of a field given twice, the last."""
    merged: Overrides = {}
    for part in parts:
        for key, value in part.items():
            merged.pop(
                key, None
            )  # to the end: a section given as a whole must not undo what came after it
            merged[key] = value
    return [f"{key}={_json(key, value)}" for key, value in merged.items()]


def _json(key: str, value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)  # JSON is YAML
    except (TypeError, ValueError):
        raise StudioError(
            f"{key}: found {value!r}, expected a finite number, a word, a list or a mapping"
        ) from None


def _words(overrides: Overrides, without: Container[str] = ()) -> str:
    plain = {
        key: value
        for key, value in overrides.items()
        if key not in without and key.partition(".")[0] != "paper"
    }
    return " ".join(
        f"{k}={v if isinstance(v, str) else _json(k, v).replace(' ', '')}" for k, v in plain.items()
    )


def _joined(words: Sequence[str]) -> str:
    return " ".join(filter(None, words))


def _folder(label: str) -> str:
    """Returns a name for a folder; where letters had to be left out, a hash of the whole label
    keeps it apart from others."""
    plain = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.-")
    if plain == label.replace(" ", "_") and len(plain) <= LONGEST:
        return plain
    return f"{plain[:LONGEST]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}".lstrip("-")


def _fault(text: str, labels: Sequence[str], rows: int) -> str:
    """Says in which rows a fault is, unless it is in all."""
    if len(labels) == rows:
        return text
    others = f" and {len(labels) - 3} more rows" if len(labels) > 3 else ""
    return f"{', '.join(labels[:3])}{others}: {text}"
