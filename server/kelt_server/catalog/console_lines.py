"""The consoles of runs in the catalog: the newest lines of each, by branch and writer.

A console keeps its newest `LINES_MAX` lines and `CHARACTERS_MAX` characters; what was before goes,
and `lines_dropped` counts it. Called within the transaction that moves the writers' cursors, so a
line is written over as often as its record is committed: once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from kelt_server import facts
from kelt_server.catalog.statements import chunks
from kelt_server.catalog.tables import CONSOLE_LINES, CONSOLES

#: Of one writer on one branch.
LINES_MAX = 100_000
CHARACTERS_MAX = 32 * 2**20

_LINE, _OF = CONSOLE_LINES.c, CONSOLES.c
_LOOKED_AT = 4096

_Key = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class ConsoleKept:
    """What is kept of one console. `end_number` is above that of every line that ever came."""

    branch_id: str
    writer_id: bytes
    end_number: int
    lines: int
    characters: int
    lines_dropped: int


@dataclass(frozen=True, slots=True)
class KeptLine:
    """One line. `stream` is that of the record, `at` 0 where nobody knows."""

    number: int
    stream: int
    at: float
    label: str
    text: str


def store(connection: Connection, said: Sequence[facts.ConsoleFact]) -> None:
    """Takes lines, in the order in which they were said."""
    by_console: dict[_Key, dict[int, facts.ConsoleFact]] = {}
    for fact in said:
        by_console.setdefault((fact.branch_id, fact.writer_id), {})[fact.number] = fact
    for (branch_id, writer_id), lines in by_console.items():
        _store(connection, branch_id, writer_id, lines)


def _store(
    connection: Connection,
    branch_id: str,
    writer_id: bytes,
    lines: Mapping[int, facts.ConsoleFact],
) -> None:
    found = list(connection.execute(select(CONSOLES).where(_is_console(branch_id, writer_id))))
    kept = ConsoleKept(*found[0]) if found else ConsoleKept(branch_id, writer_id, 0, 0, 0, 0)
    count, characters = kept.lines, kept.characters
    written_over = [number for number in lines if number < kept.end_number]
    for chunk in chunks(written_over):
        of_these = and_(_is_line(branch_id, writer_id), _LINE.number.in_(chunk))
        counted = select(func.count(), func.coalesce(func.sum(func.length(_LINE.text)), 0))
        gone, gone_characters = connection.execute(counted.where(of_these)).one()
        connection.execute(delete(CONSOLE_LINES).where(of_these))
        count, characters = count - gone, characters - gone_characters
    connection.execute(insert(CONSOLE_LINES), [_row(fact) for fact in lines.values()])
    count += len(lines)
    characters += sum(len(fact.text) for fact in lines.values())
    dropped = 0
    while count > LINES_MAX or characters > CHARACTERS_MAX:
        gone, gone_characters = _drop_oldest(
            connection, branch_id, writer_id, count - LINES_MAX, characters - CHARACTERS_MAX
        )
        count, characters, dropped = count - gone, characters - gone_characters, dropped + gone
    values = {
        "end_number": max(kept.end_number, max(lines) + 1),
        "lines": count,
        "characters": characters,
        "lines_dropped": kept.lines_dropped + dropped,
    }
    if found:
        changed = update(CONSOLES).where(_is_console(branch_id, writer_id)).values(**values)
        connection.execute(changed)
    else:
        named = {"branch_id": branch_id, "writer_id": writer_id}
        connection.execute(insert(CONSOLES).values(**named, **values))


def _drop_oldest(
    connection: Connection, branch_id: str, writer_id: bytes, lines: int, characters: int
) -> tuple[int, int]:
    """Lets the oldest lines go, about as many as are too many; returns how many, and how long."""
    oldest = (
        select(_LINE.number, func.length(_LINE.text))
        .where(_is_line(branch_id, writer_id))
        .order_by(_LINE.number)
        .limit(_LOOKED_AT)
    )
    gone = gone_characters = last = 0
    for number, length in connection.execute(oldest):
        if gone and gone >= lines and gone_characters >= characters:
            break
        gone, gone_characters, last = gone + 1, gone_characters + length, number
    these = and_(_is_line(branch_id, writer_id), _LINE.number <= last)
    connection.execute(delete(CONSOLE_LINES).where(these))
    return gone, gone_characters


def consoles(connection: Connection, branch_ids: Collection[str]) -> list[ConsoleKept]:
    """What is kept of the consoles of some branches."""
    return [
        ConsoleKept(*row)
        for chunk in chunks(list(branch_ids))
        for row in connection.execute(select(CONSOLES).where(_OF.branch_id.in_(chunk)))
    ]


def lines_after(
    connection: Connection, console: ConsoleKept, number: int, limit: int
) -> list[KeptLine]:
    """Lines above a number, the lowest first."""
    asked = _of_console(console).where(_LINE.number > number).order_by(_LINE.number).limit(limit)
    return [KeptLine(*row) for row in connection.execute(asked)]


def last_lines(connection: Connection, console: ConsoleKept, limit: int) -> list[KeptLine]:
    """The last lines, in their order."""
    asked = _of_console(console).order_by(_LINE.number.desc()).limit(limit)
    return [KeptLine(*row) for row in connection.execute(asked)][::-1]


def _of_console(console: ConsoleKept) -> Any:
    columns = (_LINE.number, _LINE.stream, _LINE.at, _LINE.label, _LINE.text)
    return select(*columns).where(_is_line(console.branch_id, console.writer_id))


def _is_line(branch_id: str, writer_id: bytes) -> ColumnElement[bool]:
    return and_(_LINE.branch_id == branch_id, _LINE.writer_id == writer_id)


def _is_console(branch_id: str, writer_id: bytes) -> ColumnElement[bool]:
    return and_(_OF.branch_id == branch_id, _OF.writer_id == writer_id)


def _row(fact: facts.ConsoleFact) -> dict[str, Any]:
    row = fact._asdict()
    del row["seq"]
    return row
