"""Facts as rows of their tables: the columns after `id` are a fact's fields in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, get_type_hints

from sqlalchemy import Column, Connection, Table, insert, select

from kelt_server import facts
from kelt_server.catalog.statements import chunks
from kelt_server.catalog.tables import FACT_TABLES

_Fact = TypeVar("_Fact")


def load_facts(
    connection: Connection, kind: type[_Fact], column: str, values: Sequence[Any]
) -> list[_Fact]:
    """The facts of one kind whose column has one of the values; of one value in order of arrival.

    That is the order of the column's index, so nothing is sorted.
    """
    table = FACT_TABLES[kind]
    fields: list[Column[Any]] = list(table.columns)[1:]
    asked = select(*fields).order_by(table.c[column], table.c.id)
    return [
        kind(*row)
        for chunk in chunks(values)
        for row in connection.execute(asked.where(table.c[column].in_(chunk))).all()
    ]


def facts_by(
    connection: Connection, kind: type[_Fact], column: str, values: Sequence[Any]
) -> dict[Any, list[_Fact]]:
    """As `load_facts`, by the column's value."""
    return grouped(load_facts(connection, kind, column, values), column)


def row_of(fact: facts.Fact | facts.LifeSign) -> dict[str, Any]:
    """The values of its fields by column."""
    return {name: getattr(fact, name) for name in _FIELDS[type(fact)]}


def grouped(said: Iterable[_Fact], field: str) -> dict[Any, list[_Fact]]:
    """Facts by the value of a field, in their order."""
    found: dict[Any, list[_Fact]] = {}
    for fact in said:
        found.setdefault(getattr(fact, field), []).append(fact)
    return found


def replace_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Inserts rows in place of those with the same writer. Portable: no dialect's own upsert."""
    if not rows:
        return
    for chunk in chunks(rows):
        writers = [row["writer_id"] for row in chunk]
        connection.execute(table.delete().where(table.c.writer_id.in_(writers)))
    connection.execute(insert(table), rows)


_FIELDS = {kind: tuple(get_type_hints(kind)) for kind in (*FACT_TABLES, facts.LifeSign)}
