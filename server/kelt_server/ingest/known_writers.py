"""Where writers stand in both stores, kept in memory by the committing thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kelt_server.catalog.store import Catalog
from kelt_server.ingest.writer_state import WriterState
from kelt_server.metrics.store import MetricsStore

#: Past that they are read again.
STATES_MAX = 50_000


class KnownWriters:
    """Mutable state: writers as they were committed last."""

    def __init__(self, *, catalog: Catalog, metrics: MetricsStore) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._states: dict[bytes, WriterState] = {}

    def load(self, writer_ids: Iterable[bytes]) -> dict[bytes, WriterState]:
        """Where writers stand; those that nobody knows at 0."""
        ids = set(writer_ids)
        states = {w: self._states[w] for w in ids if w in self._states}
        missing = ids - states.keys()
        if missing:
            cursors = self._metrics.cursors(missing)
            for writer_id, state in self._catalog.writer_states(missing).items():
                stands = replace(state, metrics_cursor=cursors.get(writer_id, 0))
                states[writer_id] = stands.beyond_losses()
        return states

    def remember(self, states: Mapping[bytes, WriterState]) -> None:
        """What is committed."""
        if len(self._states) + len(states) > STATES_MAX:
            self._states.clear()
        self._states.update(states)

    def forget(self, writer_ids: Iterable[bytes]) -> None:
        """Of whom it is not known what was committed."""
        for writer_id in writer_ids:
            self._states.pop(writer_id, None)
