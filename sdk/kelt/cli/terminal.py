"""Where commands write: tables, text or JSON on stdout, errors and notes on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from kelt.cli.wording import plain

if TYPE_CHECKING:
    from rich.console import Console

#: Output that no terminal limits is not cut.
_WIDTH_UNLIMITED = 4000
_STATE_STYLES = {
    "running": "cyan",
    "finished": "green",
    "failed": "red",
    "crashed": "red",
    "killed": "red",
    "waiting": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "reachable": "green",
    "connecting": "yellow",
    "unreachable": "red",
    "refused": "red",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        title: its heading.
        is_number: aligned to the right.
        is_kept: not shortened for want of space, but for half of the line; the others share what
            is left.
    """

    title: str
    is_number: bool = False
    is_kept: bool = False


def console(stream: TextIO | None = None) -> Console:
    """A console that takes text as it is: no markup, no guessing at numbers."""
    from rich.console import Console  # noqa: PLC0415 # not needed for --json and --help

    file = stream or sys.stdout
    limited = file.isatty() or "COLUMNS" in os.environ
    return Console(
        file=file,
        width=None if limited else _WIDTH_UNLIMITED,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """A table with a line a row: what does not fit is cut with an ellipsis."""
    from rich.table import Table  # noqa: PLC0415 # as above
    from rich.text import Text  # noqa: PLC0415 # as above

    screen = console()
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        show_header=any(column.title for column in columns),
    )
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            no_wrap=column.is_kept,
            max_width=screen.width // 2 if column.is_kept else None,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(
            *(
                Text(
                    plain(cell),
                    no_wrap=True,
                    overflow="ellipsis",
                    style=_STATE_STYLES.get(cell, "") if column.is_kept else "",
                )
                for column, cell in zip(columns, row, strict=True)
            )
        )
    with screen.capture() as captured:
        screen.print(table)
    # Padding at the end of lines is noise in a file and breaks lines in a narrow terminal.
    for line in captured.get().splitlines():
        say(line.rstrip())


def say(text: str = "") -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def heading(text: str) -> None:
    """A bold line on stdout, after an empty one."""
    console().print(f"\n{text}", style="bold")


def note(sentence: str) -> None:
    """A line beside the output proper, on stderr."""
    sys.stderr.write(f"kelt: {plain(sentence)}\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    """One line of JSON on stdout."""
    from kelt.api_client.json_values import encode_json  # noqa: PLC0415 # loads httpx's package

    say(encode_json(value))
