"""Whose processes somebody asked to stop, in the catalog's file and in memory.

Bound: one entry a session that was ever asked. A session that comes later is not meant.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, insert, select

from kelt_server.catalog.statements import transaction
from kelt_server.catalog.tables import STOPS


class Stops:
    """Mutable state: the writers that were asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.begin() as connection:
            self._asked = {bytes(row[0]) for row in connection.execute(select(STOPS.c.writer_id))}

    def is_asked(self, writer_id: bytes) -> bool:
        """Whether the writer's process is to stop."""
        return writer_id in self._asked

    def of(self, writer_ids: Iterable[bytes]) -> frozenset[bytes]:
        """Those of the writers that were asked."""
        return frozenset(self._asked.intersection(writer_ids)) if self._asked else frozenset()

    def ask(self, writer_ids: Iterable[bytes], *, at: float, by_user: str) -> None:
        """Asks writers' processes to stop, those that were not asked yet.

        Raises:
            StoreError: nobody was asked.
        """
        new = set(writer_ids) - self._asked
        if not new:
            return
        rows = [{"writer_id": writer_id, "at": at, "by_user": by_user} for writer_id in new]
        with transaction(self._engine) as connection:
            connection.execute(insert(STOPS), rows)
        self._asked |= new
