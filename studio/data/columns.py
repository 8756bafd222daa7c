"""Attributes from the columns of a user's table, and notes on how they were read."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from studio.data.dataset import Attribute, AttributeConfig, DataConfig, Labels, is_known
from studio.data.io.attribute_table import (
    MOST_CLASSES,
    TABLE,
    Kind,
    Table,
    encode_column,
    parse_number,
)
from studio.data.io.names import join_names
from studio.errors import StudioError

__all__ = ["column_notes", "identifier_notes", "odd_cells", "read_columns"]

DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?"
    r"|\d{1,2}[- ][A-Za-z]{3}([- ]\d{2,4})?|[A-Za-z]{3}[- ]\d{2,4}"
)
SCIENTIFIC = re.compile(r"\d([.,]\d+)?E\+?\d+", re.IGNORECASE)
MISSING_CODES = (-9, -99, -999, -9999, -99999, 99, 999, 9999, 99999)
ODD_CELLS = {  # what nearly is a number -> pattern and remedy
    "numbers with a percent sign": (re.compile(r"[+-]?\d+([.,]\d+)?\s*%"), "leave out the sign"),
    "dates": (DATE, "write a number, such as days"),
    "numbers with thousands separators": (
        re.compile(r"[+-]?\d{1,3}([,' ]\d{3})+(\.\d+)?|[+-]?\d{1,3}(\.\d{3}){2,}(,\d+)?"),
        "write 1200",
    ),
    "numbers with a decimal comma": (re.compile(r"[+-]?\d*,\d+"), "write 3.5"),
    "numbers with < or >": (re.compile(r"[<>~\u2264\u2265]\s*\d+([.,]\d+)?"), "write a number"),
    "numbers with a unit": (
        re.compile(
            r"[+-]?\d+([.,]\d+)?(\s+[A-Za-z\u00b5\u00b0]\D{0,11}\d?"
            r"|([kmcu\u00b5]?[mgl]|mm[23\u00b2\u00b3]|cc|[ymdhsT]|yrs?|min|ms|Hz|HU|\u00b0C?))"
        ),
        "leave out the unit",
    ),
}


def read_columns(
    names: Mapping[str, str], table: Table, config: DataConfig
) -> tuple[dict[str, Attribute], Labels]:
    """Converts columns of the table to attributes and to one value per image.

    Args:
        names: image -> domain.
        table: image -> column -> text.
        config: names the columns, with the code where each belongs.

    Raises:
        StudioError: no target image has a value, or a column is not of the kind in the config.
    """
    declared: dict[str, Attribute] = {}
    columns: Labels = {}
    for name, choice in config.attributes.items():
        kind: Kind = choice.kind if isinstance(choice, AttributeConfig) else "auto"
        try:
            classes, columns[name] = encode_column(
                [table.get(image, {}).get(name, "") for image in names], kind
            )
        except StudioError as error:
            raise StudioError(f"data.attributes.{name}: {error}") from None
        having = {
            domain
            for domain, has in zip(names.values(), is_known(columns[name]), strict=True)
            if has
        }
        if "target" not in having:
            raise StudioError(f"data.attributes.{name}: no target image has a value in {TABLE}")
        belongs = config.belongs_of(name)
        declared[name] = Attribute(belongs, classes, target_only="background" not in having)
    return declared, columns


def column_notes(
    attributes: Mapping[str, Attribute], columns: Labels, config: DataConfig
) -> Iterator[str]:
    """Yields notes on how the columns of attributes were read."""
    for name, attribute in attributes.items():
        values = columns[name][is_known(columns[name])]
        choice = config.attributes[name]
        chosen = isinstance(choice, AttributeConfig) and choice.kind != "auto"
        if not attribute.classes:
            yield from _code_notes(name, values)
            if not chosen and np.all(values == np.round(values)):
                yield (
                    f"attribute {name}: a number from {values.min():.12g} to {values.max():.12g}; "
                    f"write data.attributes.{name}: {{belongs: {attribute.belongs}, "
                    "kind: category} to make it a category"
                )
            continue
        yield from _category_notes(name, attribute.classes, len(values))


def _code_notes(name: str, values: np.ndarray) -> Iterator[str]:
    """Yields a note on numbers such as -999, which often mean no value."""
    codes = [code for code in MISSING_CODES if np.any(values == code)]
    others = values[~np.isin(values, codes)]
    far = [c for c in codes if not len(others) or abs(c) > 2 * np.abs(others).max()]
    if far:
        count = np.isin(values, far).sum()
        shown = join_names([f"{code:g}" for code in far])
        yield f"attribute {name}: {count} values are {shown}: if that means no value, write NA"


def _category_notes(name: str, classes: Sequence[str], count: int) -> Iterator[str]:
    """Yields notes on one attribute that was read as categories, with `count` values."""
    words = [value for value in classes if parse_number(value) is None]
    odd = dict(odd_cells(words))
    if odd:
        kinds = ", ".join(f"{kind} such as {values[0]!r}" for kind, (values, _) in odd.items())
        remedies = ", ".join(dict.fromkeys(remedy for _, remedy in odd.values()))
        plain = len(classes) - len(words)
        yield (
            f"attribute {name}: {len(classes)} different values, "
            f"{plain or 'none'} a plain number: {kinds}; {remedies}"
        )
    others = [word for word in words if not any(word in values for values, _ in odd.values())]
    if len(words) < len(classes) and others:
        yield (
            f"attribute {name} is read as categories, because some values are not numbers: "
            f"{join_names(others)}"
        )
    alike = _alike(classes, lambda text: re.sub(r"[\s_.-]+", " ", text.casefold()).strip())
    if alike:
        groups = [" and ".join(group) for group in alike]
        yield f"attribute {name}: classes that differ in spelling only: {join_names(groups)}"
    if len(words) == len(classes) > MOST_CLASSES and len(classes) > count / 2 and not odd:
        yield (
            f"attribute {name}: {len(classes)} different words in {count} images, "
            "perhaps a name of the image and not a property"
        )


def odd_cells(words: Sequence[str]) -> Iterator[tuple[str, tuple[list[str], str]]]:
    """Yields each kind of cell that nearly is a number, its cells, and the remedy."""
    left = list(words)
    for kind, (pattern, remedy) in ODD_CELLS.items():
        found = [word for word in left if pattern.fullmatch(word)]
        if found:
            yield kind, (found, remedy)
        left = [word for word in left if word not in found]


def _alike(texts: Iterable[str], plain: Callable[[str], str]) -> list[list[str]]:
    """Returns groups of texts with the same plain form."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        groups[plain(text)].append(text)
    return [group for group in groups.values() if len(group) > 1]


def identifier_notes(table: Table) -> Iterator[str]:
    """Yields notes on subjects that a spreadsheet seems to have changed."""
    subjects = {name: cells["subject"] for name, cells in table.items() if cells.get("subject")}
    distinct = sorted(set(subjects.values()))
    lost = sorted({text for name, text in subjects.items() if _lost_zeros(text, name)})
    for found, fault in (
        ([t for t in distinct if re.fullmatch(r"\d+\.0+", t)], "numbers with a .0"),
        ([t for t in distinct if SCIENTIFIC.fullmatch(t)], "rounded numbers"),
        ([t for t in distinct if DATE.fullmatch(t)], "dates"),
        (lost, "numbers without the leading zeros in the names of the files"),
    ):
        if found:
            yield (
                f"column subject: {len(found)} of {len(distinct)} subjects are {fault}, such as "
                f"{join_names(found, 2)}: a spreadsheet may have changed them; "
                "store the column as text"
            )


def _lost_zeros(text: str, name: str) -> bool:
    """Returns whether the name of an image has the number of its subject with leading zeros."""
    return text.isdecimal() and bool(re.search(rf"(?<!\d)0+{text}(?!\d)", name))
