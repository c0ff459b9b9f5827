"""Where a writer stands in both stores."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace

from kelt_server.facts import RouteFact

#: What SQLite holds in an integer column.
INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class WriterState:
    """Where a writer stands in both stores.

    `lost` holds the ranges that other writers declared lost, in no order; `name` is the name that
    the session opened, `deleted` the run whose deletion has ended the writer, `retells` the session
    that it tells again, with `retold_base` added to its relative steps (`facts.SessionFact`).
    """

    catalog_cursor: int = 0
    metrics_cursor: int = 0
    routes: tuple[RouteFact, ...] = ()
    lost: tuple[tuple[int, int], ...] = ()
    name: tuple[str, str, str] | None = None
    deleted: tuple[str, str, str] | None = None
    retells: bytes = b""
    retold_base: int = 0

    @property
    def committed_through(self) -> int:
        """What may be acknowledged."""
        return min(self.catalog_cursor, self.metrics_cursor)

    def branch_at(self, seq: int) -> str | None:
        """The branch to which a record belongs."""
        index = bisect.bisect_right(self.routes, seq, key=lambda route: route.from_seq)
        return self.routes[index - 1].branch_id if index else None

    def beyond_losses(self) -> WriterState:
        """The same with cursors moved over ranges that are declared lost."""
        return replace(
            self,
            catalog_cursor=_extend(self.catalog_cursor, self.lost),
            metrics_cursor=_extend(self.metrics_cursor, self.lost),
        )


def _extend(cursor: int, lost: tuple[tuple[int, int], ...]) -> int:
    for first, last in sorted(lost):
        if first <= cursor + 1:
            cursor = max(cursor, last)
    return cursor
