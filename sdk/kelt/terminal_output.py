"""What a process wrote to its terminal, as the lines that stand there in the end. Pure.

It comes piece by piece: half lines, several, progress bars that go back to a line's beginning, and
bars below each other that go up. Standard output and standard error are a
terminal each, whose lines are numbered together, in the order in which they began. A change tells
the lines that are other than before; colours stay in them, other sequences are followed or left
out. A line below which `_ROWS_KEPT` others stand is not changed any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

_ROWS_KEPT = 64
#: What goes beyond is left out, as W&B does: each piece of a line tells all of it again.
_COLUMNS_MAX = 4096
_SEQUENCE = re.compile(
    r"\x1b\[([0-9;?]*)([A-Za-z])"  # a control sequence
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # an operating system command, as of titles and links
    r"|\x1b[()#%*+][^\x1b]"  # a character set
    r"|\x1b[^\x1b\[\]()#%*+]"  # others
    r"|[\n\r\b]",
    re.DOTALL,
)
_PARTIAL = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07\x1b]*\x1b?|[()#%*+])?\Z")
_HELD_MAX = 4096
_DIGITS_MAX = 5


_UP, _DOWN = ("A", "F"), ("B", "E")
#: What a sequence makes of the column, given its number.
_COLUMNS: Mapping[str, Callable[[int, int], int]] = {
    "\r": lambda _column, _number: 0,
    "\b": lambda column, _number: column - 1,
    "C": lambda column, number: column + number,
    "D": lambda column, number: column - number,
    "E": lambda _column, _number: 0,
    "F": lambda _column, _number: 0,
    "G": lambda _column, number: number - 1,
}


@dataclass(slots=True)
class _Row:
    number: int
    cells: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.cells)


@dataclass(slots=True)
class _Terminal:
    """One stream. `rows` are the last ones; the cursor is in the row `at` before the last."""

    rows: list[_Row | None] = field(default_factory=lambda: [None])
    at: int = 0
    column: int = 0
    #: A colour that has been set and not been followed by text.
    colour: str = ""
    #: The beginning of a sequence whose end has not come.
    partial: str = ""


class ConsoleOutput:
    """The terminals of one process. Mutable state: their last rows, and the next line's number."""

    def __init__(self) -> None:
        self._terminals = (_Terminal(), _Terminal())
        self._next_number = 0

    def write(self, text: str, *, is_error: bool) -> dict[int, str]:
        """Takes a piece; returns the lines that changed, by number."""
        terminal = self._terminals[is_error]
        text = terminal.partial + text
        partial = _PARTIAL.search(text)
        terminal.partial = partial[0] if partial and len(partial[0]) < _HELD_MAX else ""
        text = text[: len(text) - len(terminal.partial)]
        changed: dict[int, _Row] = {}
        for piece in _pieces(text):
            if isinstance(piece, str):
                row: _Row | None = _put(self._row(terminal), terminal, piece)
            else:
                row = self._follow(terminal, piece)
            if row is not None:
                changed[row.number] = row
        return {number: row.text for number, row in changed.items()}

    def take_number(self) -> int:
        """The number of a line that is nobody's output, after those that have begun."""
        self._next_number += 1
        return self._next_number - 1

    def _row(self, terminal: _Terminal) -> _Row:
        row = terminal.rows[-1 - terminal.at]
        if row is None:
            row = terminal.rows[-1 - terminal.at] = _Row(self.take_number())
        return row

    def _follow(self, terminal: _Terminal, sequence: re.Match[str]) -> _Row | None:
        """Moves the cursor or clears; returns the row that changed, if one did."""
        said, kind = sequence[0], sequence[2]
        if said == "\n":
            return self._end_line(terminal)
        if kind == "K":
            return _clear(terminal, _number(sequence[1], 0))
        if kind == "m":
            terminal.colour = (terminal.colour + said)[-64:]
            return None
        number = _number(sequence[1], 1)
        if kind in _UP:
            terminal.at = min(terminal.at + number, len(terminal.rows) - 1)
        elif kind in _DOWN:
            self._down(terminal, min(number, _ROWS_KEPT))
        move = _COLUMNS.get(kind or said)
        if move is not None:
            terminal.column = min(max(0, move(terminal.column, number)), _COLUMNS_MAX)
        return None

    def _end_line(self, terminal: _Terminal) -> _Row | None:
        """An empty line is one, too."""
        is_new = terminal.rows[-1 - terminal.at] is None
        row = self._row(terminal)
        is_changed = is_new or bool(terminal.colour and row.cells)
        if row.cells:
            row.cells[-1] += terminal.colour
            terminal.colour = ""
        self._down(terminal, 1)
        terminal.column = 0
        return row if is_changed else None

    def _down(self, terminal: _Terminal, rows: int) -> None:
        for _ in range(rows):
            if terminal.at:
                terminal.at -= 1
            else:
                terminal.rows.append(None)
        del terminal.rows[:-_ROWS_KEPT]


def _pieces(text: str) -> Iterator[str | re.Match[str]]:
    """Text without sequences, and the sequences between."""
    end = 0
    for found in _SEQUENCE.finditer(text):
        if found.start() > end:
            yield text[end : found.start()]
        yield found
        end = found.end()
    if end < len(text):
        yield text[end:]


def _put(row: _Row, terminal: _Terminal, text: str) -> _Row:
    """Writes over what stands at the cursor; a colour goes with the character after it."""
    text = text[: max(0, _COLUMNS_MAX - terminal.column)]
    if not text:
        return row
    cells = list(text)
    if terminal.colour:
        cells[0], terminal.colour = terminal.colour + cells[0], ""
    missing = terminal.column - len(row.cells)
    if missing > 0:
        row.cells += " " * missing
    row.cells[terminal.column : terminal.column + len(cells)] = cells
    terminal.column += len(cells)
    return row


def _clear(terminal: _Terminal, what: int) -> _Row | None:
    row = terminal.rows[-1 - terminal.at]
    if row is None:
        return None
    if what == 0:
        del row.cells[terminal.column :]
    elif what == 1:
        row.cells[: terminal.column] = " " * min(terminal.column, len(row.cells))
    else:
        row.cells.clear()
    return row


def _number(text: str | None, default: int) -> int:
    is_number = text is not None and text.isdecimal() and len(text) <= _DIGITS_MAX
    return int(text or "") if is_number else default
