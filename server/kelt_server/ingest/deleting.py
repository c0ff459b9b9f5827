"""Deletes runs in the stores, in the committing thread.

The catalog goes first, and decides (`catalog.deletions`). The metrics store follows before anything
else is committed, at the next commit or start where it cannot at once, for a former id may be given
again.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from kelt_server.branch_names import Name
from kelt_server.catalog.deletions import Deletion
from kelt_server.catalog.store import Catalog
from kelt_server.changes import Noticed
from kelt_server.errors import StoreError
from kelt_server.ingest.known_writers import KnownWriters
from kelt_server.ingest.name_limits import NameLimits
from kelt_server.ingest.output_records import system_branch
from kelt_server.metrics.store import MetricsStore
from kelt_server.object_store import ObjectStore


class RunDeleter:
    """Mutable state: what the metrics store has still to follow."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        metrics: MetricsStore,
        objects: ObjectStore,
        known: KnownWriters,
        limits: NameLimits,
        clock: Callable[[], float],
        noticed: Noticed,
    ) -> None:
        self._deletions = catalog.deletions
        self._metrics = metrics
        self._objects = objects
        self._known = known
        self._limits = limits
        self._clock = clock
        self._noticed = noticed
        #: Branches of deleted runs that the metrics store still calls by their former ids.
        self._unsettled = self._deletions.unsettled()
        self._log = structlog.get_logger("kelt_server.ingest")

    def delete(self, name: Name, *, by_user: str) -> Deletion:
        """Deletes a run: what its writers push from then on is refused.

        Raises:
            NotFoundError: there is none.
            StoreError: nothing was changed.
        """
        self.settle()
        deletion = self._deletions.delete(name, at=self._clock(), by_user=by_user)
        self._known.forget(deletion.writers)
        branches = deletion.former_ids | set(map(system_branch, deletion.former_ids))
        self._limits.forget_branches(branches)
        for object_id in deletion.objects:
            self._objects.remove(object_id)
        self._unsettled = self._deletions.unsettled()
        try:
            self.settle()
        except StoreError as error:  # it is deleted, and this is done before anything is committed
            self._log.warning("a deletion waits for the metrics store", reason=str(error))
        self._noticed({name, *deletion.former_ids, *deletion.writers})
        return deletion

    def settle(self) -> None:
        """Has the metrics store follow the catalog, before a former id is another branch's.

        Raises:
            StoreError: it cannot now; commits wait for it.
        """
        if self._unsettled:
            samples = {
                system_branch(former): system_branch(buried)
                for former, buried in self._unsettled.items()
            }
            self._metrics.rename_branches(self._unsettled | samples)
            self._deletions.settle(self._unsettled.values())
            self._unsettled = {}
