"""Transactions on the catalog's tables of artifacts, and what errors of the database become."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from kelt_server.artifacts import queries
from kelt_server.artifacts.records import DELETED, Artifact
from kelt_server.catalog.statements import transaction
from kelt_server.errors import BadRequestError, NotFoundError


class Transactions:
    """Gives connections, each in a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for `queries`.

        Raises:
            StoreError: the catalog cannot be read.
        """
        with self._transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection for `changes`; all that is done on it is done, or nothing.

        Raises:
            StoreError: the catalog cannot be written.
        """
        with self._transaction(self._engine.execution_options(kelt_is_writing=True)) as connection:
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with transaction(engine) as connection:
                yield connection
        except UnicodeEncodeError as error:
            raise BadRequestError("a text holds half of a surrogate pair") from error

    def artifact(self, number: int) -> Artifact:
        """One that is there, or about to be.

        Raises:
            NotFoundError: it is not.
        """
        with self.reading() as connection:
            return there(connection, number)


def there(connection: Connection, number: int) -> Artifact:
    """As `Transactions.artifact`, in a transaction that has begun."""
    found = queries.artifact(connection, number)
    if found is None or found.state == DELETED:
        raise NotFoundError("there is no such artifact, or it was deleted")
    return found
