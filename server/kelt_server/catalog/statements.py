"""What all statements on the catalog's file share: their transactions, errors and bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from kelt_server.errors import StoreError

#: Databases bound the number of values in one statement.
VALUES_MAX = 500

_Value = TypeVar("_Value")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection on which all is done, or nothing.

    Raises:
        StoreError: the database cannot.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"the catalog cannot be read or written: {cause}") from error


def chunks(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """As many as a statement takes at a time."""
    for start in range(0, len(values), VALUES_MAX):
        yield values[start : start + VALUES_MAX]
