"""Tables for the terminal in which long names continue on the next line and numbers stay whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from studio.terminal import plain_text, printable

__all__ = ["Column", "TextTable"]

NARROWEST = 12  # columns of the terminal that a name gets at least before a table becomes a list
WIDEST = 60  # columns of the terminal that a name gets at most
GAP = 2  # columns of the terminal between two columns of the table


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: the head of the column.
        justify: `right` for numbers.
        breaks: whether its texts may continue on the next line, as names do and numbers do not.
    """

    name: str
    justify: Literal["left", "right"] = "left"
    breaks: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table that is printed with `Console.print`.

    In a terminal that is too narrow for its numbers it becomes a list, one line per value.

    Attributes:
        title: a line above the table.
        columns: its columns.
        rows: a text for each column.
        bold: whether the title is bold.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    bold: bool = False

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the table, or the list, for the width and the encoding of a console."""
        encoding = options.encoding or "utf-8"
        lines = [[column.name for column in self.columns], *self.rows]
        head, *rows = [[plain_text(printable(cell), encoding) for cell in line] for line in lines]
        yield Text(plain_text(printable(self.title), encoding), "bold" if self.bold else "")
        widths = self._fit([head, *rows], options.max_width)
        if widths is None:
            yield from _list_values(head, rows)
            return
        yield Text("")
        yield from self._draw_line(console, head, widths)
        yield Text(" " + plain_text("─", encoding) * (sum(widths) + GAP * len(widths)))
        for row in rows:
            yield from self._draw_line(console, row, widths)
        yield Text("")

    def _fit(self, lines: Sequence[Sequence[str]], most: int) -> list[int] | None:
        """Returns the widths of the columns, or None if the numbers need more than `most`."""
        columns = list(zip(*lines, strict=True))
        widths = [max(map(cell_len, cells)) for cells in columns]
        for i, column in enumerate(self.columns):
            widths[i] = min(widths[i], WIDEST) if column.breaks else widths[i]
        excess = sum(widths) + GAP * (len(widths) + 1) - most
        for i, (column, cells) in enumerate(zip(self.columns, columns, strict=True)):
            if column.breaks and excess > 0:
                words = [word for cell in cells for word in cell.split()]
                least = min(NARROWEST, max(map(cell_len, words), default=0))
                spare = min(max(0, widths[i] - least), excess)
                widths[i], excess = widths[i] - spare, excess - spare
        return widths if excess <= 0 else None

    def _draw_line(
        self, console: Console, cells: Sequence[str], widths: Sequence[int]
    ) -> Iterator[Text]:
        """Yields the lines of a row."""
        broken = [
            [line.plain.rstrip() for line in Text(cell).wrap(console, width, overflow="fold")]
            if column.breaks
            else [cell]
            for column, cell, width in zip(self.columns, cells, widths, strict=True)
        ]
        for parts in zip_longest(*broken, fillvalue=""):
            yield Text(
                " " * GAP
                + (" " * GAP)
                .join(
                    _pad(part, width, column.justify)
                    for column, part, width in zip(self.columns, parts, widths, strict=True)
                )
                .rstrip()
            )


def _pad(text: str, width: int, justify: Literal["left", "right"]) -> str:
    space = " " * (width - cell_len(text))
    return space + text if justify == "right" else text + space


def _list_values(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Yields a line for each value, after the name of its column."""
    width = max(map(cell_len, heads))
    for row in rows:
        yield Text("")
        for head, cell in zip(heads, row, strict=True):
            if cell:
                yield Text(f"{_pad(head, width, 'left')}  {cell}")
    yield Text("")
