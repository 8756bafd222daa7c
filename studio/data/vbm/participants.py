"""The table `participants.tsv` of a BIDS folder: the set of each subject, and clean columns."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studio.data.columns import odd_cells
from studio.data.dataset import AttributeChoice, AttributeConfig, Belongs
from studio.data.io.attribute_table import MOST_CLASSES, is_table, parse_number, read_rows
from studio.data.io.names import format_lines, is_missing, join_names, normalise_name
from studio.data.vbm.config import VbmConfig
from studio.data.vbm.layout import VBM_LAYOUT, bare_id
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest
from studio.lfs import refuse_pointer

__all__ = ["Participants", "choose_attributes", "drop_words", "read_participants"]

ID = "participant_id"
# Column, in lower case -> code where it belongs, and whether it is a number.
KNOWN: dict[str, tuple[Belongs, bool]] = {
    "age": ("common", True),
    "severity": ("salient", True),
    **dict.fromkeys(("sex", "gender", "site", "center", "centre", "scanner"), ("common", False)),
}
# Scales of symptoms: SANS, SAPS_total, PANSS, ADOS, ADI_S, ADI-R.
SYMPTOMS = re.compile(r"(?:sans|saps|panss|ados|adi)(?![a-z])")


@dataclass
class Participants:
    """The rows of the table that belong to one of the sets.

    Attributes:
        columns: names of all columns but `participant_id`.
        rows: subject as in `bare_id` -> column -> text, "" where it has no value.
        spelled: subject -> its cell in the table.
        domains: subject -> set.
        kinds: subject -> the value of `data.column`, as the config spells it.
        others: subjects of neither set.
        of_sessions: columns that the tables of sessions have, and this one has not.
        faults: (row, reason) for each row that cannot be used.
        broken: subject -> reason, for the subjects of these rows.
        notes: facts that a user should know.
    """

    columns: list[str]
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    of_sessions: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_participants(root: Path, config: VbmConfig) -> Participants:
    """Reads the table.

    Raises:
        StudioError: it is missing or damaged, too many of its rows cannot be used, it has no
            column `data.column`, or that has none of the values of a set.
    """
    path = root / config.participants
    if not path.is_file():
        tables = sorted(entry.name for entry in os.scandir(root) if is_table(entry.name))
        seen = f"; found {join_names(tables)} (data.participants)" if tables else ""
        raise StudioError(f"{path}: no such table{seen}; expected {VBM_LAYOUT}")
    refuse_pointer(path)
    columns, lines = read_rows(path, (ID,))
    found = Participants([name for name in columns if name != ID])
    if config.column not in found.columns:
        raise StudioError(
            f"data.column: {path} has no column {config.column!r}"
            f"{nearest(config.column, found.columns)}"
        )
    found.notes += _separator_notes(path)
    groups: dict[str, list[tuple[int, dict[str, str]]]] = defaultdict(list)
    for line, cells in lines:
        if is_missing(cells[ID]):
            found.faults.append((f"{path.name}, line {line}", f"has no {ID}"))
        else:
            groups[bare_id(normalise_name(cells[ID]))].append((line, cells))
    _join_twins(found, groups)
    if len(found.faults) > config.max_bad * len(lines):
        shown = format_lines([f"{name} {reason}" for name, reason in found.faults])
        raise StudioError(
            f"{path}: {len(found.faults)} of {len(lines)} rows cannot be used, max_bad is "
            f"{config.max_bad:.0%}{shown}"
        )
    _sort_into_sets(path, found, config)
    return found


def _separator_notes(path: Path) -> Iterator[str]:
    """Yields a note on a table that is not separated by tabs, as BIDS asks for."""
    with path.open(encoding="utf-8-sig") as file:
        header = next((line for line in file if line.strip()), "")
    if "\t" not in header and (kind := next((name for name in ",;" if name in header), "")):
        words = {",": "commas", ";": "semicolons"}[kind]
        yield f"{path.name} is separated by {words}, and BIDS has tabs: it is read as it is"


def _join_twins(
    found: Participants, groups: Mapping[str, Sequence[tuple[int, dict[str, str]]]]
) -> None:
    """Takes the rows of each subject. Rows that differ are a fault, equal ones count once."""
    equal = 0
    for subject, lines in groups.items():
        rows = [
            {
                name: "" if is_missing(cells[name]) else normalise_name(cells[name])
                for name in found.columns
            }
            for _, cells in lines
        ]
        differ = [name for name in found.columns if len({row[name] for row in rows}) > 1]
        spelled = lines[0][1][ID]
        if differ:
            numbers = join_names([str(line) for line, _ in lines])
            reason = (
                f"has {len(lines)} rows that differ in {join_names(differ)}, lines {numbers}: "
                "write one row per subject"
            )
            found.faults.append((spelled, reason))
            found.broken[subject] = reason
            continue
        equal += len(lines) - 1
        found.rows[subject], found.spelled[subject] = rows[0], spelled
    if equal:
        found.notes.append(f"{equal} rows repeat another row of their subject and count once")


def _sort_into_sets(path: Path, found: Participants, config: VbmConfig) -> None:
    """Finds the set of each subject by `data.column`.

    Raises:
        StudioError: a set has no subject.
    """
    values = {subject: cells[config.column] for subject, cells in found.rows.items()}
    wanted = {
        value.casefold(): (domain, value)
        for domain in DOMAINS
        for value in (config.background if domain == "background" else config.target)
    }
    for subject, value in values.items():
        if value.casefold() in wanted:
            found.domains[subject], found.kinds[subject] = wanted[value.casefold()]
        else:
            found.others.append(subject)
    seen = Counter(value or "no value" for value in values.values())
    for domain, value in wanted.values():
        if value not in found.kinds.values():
            counted = [f"{name} ({count})" for name, count in seen.most_common()]
            hint = nearest(value, [name for name in seen if name != "no value"])
            raise StudioError(
                f"data.{domain}: no row of {path} has {value!r} in the column {config.column}"
                f"{hint if 'did you mean' in hint else ''}; found "
                f"{join_names(counted) or 'no row'}"
            )
    rest = Counter(values[subject] or "no value" for subject in found.others)
    if rest:
        counted = [f"{name} ({count})" for name, count in rest.most_common()]
        found.notes.append(
            f"{rest.total()} rows are in neither set, by their {config.column}: "
            f"{join_names(counted)}"
        )


def choose_attributes(table: Participants, config: VbmConfig) -> dict[str, AttributeChoice]:
    """Returns the attributes of the config, or else the columns whose names are known.

    These are age, sex and site (common), and severity and scales of symptoms (salient).

    Raises:
        StudioError: the table lacks a column that the config names.
    """
    for name in config.attributes:
        if name in ("target", ID):
            raise StudioError(f"data.attributes.{name}: no attribute can have this name")
        if name not in table.columns:
            raise StudioError(
                f"data.attributes.{name}: {config.participants} has no such column"
                f"{nearest(name, table.columns)}"
            )
    if config.attributes:
        return dict(config.attributes)
    chosen: dict[str, AttributeChoice] = {}
    for name in table.columns:
        plain = name.casefold()
        belongs, number = KNOWN.get(plain, ("salient", True))
        if name != config.column and (plain in KNOWN or SYMPTOMS.match(plain)):
            kind = "number" if number else "category"
            chosen[name] = AttributeConfig(belongs=belongs, kind=kind)
    return chosen


def drop_words(
    table: Participants,
    subjects: Iterable[str],
    chosen: Mapping[str, AttributeChoice],
    config: VbmConfig,
) -> tuple[dict[str, AttributeChoice], list[str]]:
    """Empties the cells with text in columns of numbers, in place.

    A column holds numbers if its kind says so, or if most of its values are numbers and more than
    `MOST_CLASSES` of them differ.

    Args:
        table: its rows are changed.
        subjects: those whose rows count.
        chosen: the attributes.
        config: has the largest share of such cells.

    Returns:
        The attributes, with the kind of these columns, and notes.

    Raises:
        StudioError: too many cells of a column are text.
    """
    subjects, found, notes = list(subjects), dict(chosen), []
    for name, choice in chosen.items():
        kind = choice.kind if isinstance(choice, AttributeConfig) else "auto"
        cells = {subject: table.rows[subject][name] for subject in subjects}
        cells = {subject: cell for subject, cell in cells.items() if cell}
        words = {subject: cell for subject, cell in cells.items() if parse_number(cell) is None}
        numbers = {parse_number(cell) for cell in cells.values()} - {None}
        several = len(numbers) > MOST_CLASSES and 2 * len(words) < len(cells)
        if kind == "category" or not (kind == "number" or several):
            continue
        belongs = config.belongs_of(name) if isinstance(choice, str) else choice.belongs
        found[name] = AttributeConfig(belongs=belongs, kind="number")
        if not words:
            continue
        texts = sorted(set(words.values()))
        remedies = [f"{kind}: {remedy}" for kind, (_, remedy) in odd_cells(texts)]
        more = "".join(f"; {remedy}" for remedy in remedies)
        text = (
            f"column {name}: {len(words)} of {len(cells)} values are not numbers: "
            f"{join_names(texts)}{more}"
        )
        if len(words) > config.max_bad * len(cells):
            file = "sub-XX_sessions.tsv" if name in table.of_sessions else config.participants
            raise StudioError(
                f"{file}: {text}; max_bad is {config.max_bad:.0%}; for words write "
                f"data.attributes.{name}: {{belongs: {belongs}, kind: category}}"
            )
        notes.append(f"{text}; they count as no value")
        for subject in words:
            table.rows[subject][name] = ""
    return found, notes
