"""Questions about runs, answered from both stores. Blocking: called in worker threads."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

from kelt_server import bands
from kelt_server.access.callers import Caller, anybody
from kelt_server.bands import Banded, BandRequest
from kelt_server.catalog.store import Catalog
from kelt_server.changes import Key
from kelt_server.consoles import Consoles
from kelt_server.finding import Finder
from kelt_server.histories import Histories
from kelt_server.metrics.store import MetricsStore
from kelt_server.object_store import ObjectStore
from kelt_server.relatives import Around, Forks, Relatives
from kelt_server.run_files import RunFiles
from kelt_server.run_table import Document, RunTable
from kelt_server.run_view import RunView
from kelt_server.viewing import Viewer

#: As an entity, all that are open to who asks. No entity is so called in W&B.
EVERY_ENTITY = "*"


class RunReader:
    """One door to them all. `rows`, `consoles` and `files` read what a run is made of.

    As it is made it answers for the server itself, to which everything is open; what others ask is
    asked of the one that they see (`seen_by`).
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        metrics: MetricsStore,
        objects: ObjectStore,
        clock: Callable[[], float],
        server_started_at: float,
        lease_s: float,
        default_entity: str,
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._objects = objects
        self._viewer = Viewer(
            catalog=catalog,
            metrics=metrics,
            clock=clock,
            server_started_at=server_started_at,
            lease_s=lease_s,
        )
        self._table = RunTable(names=catalog.names, resolve=self._viewer.resolved, clock=clock)
        self._see(anybody(default_entity))

    def seen_by(self, caller: Caller) -> RunReader:
        """The same, as far as it is open to somebody."""
        seen = copy(self)
        seen._see(caller)  # noqa: SLF001 # its own copy
        return seen

    def _see(self, caller: Caller) -> None:
        catalog, metrics = self._catalog, self._metrics
        self._caller = caller
        self._finder = Finder(catalog=catalog, metrics=metrics, caller=caller)
        self.rows = Histories(finder=self._finder, metrics=metrics)
        self.consoles = Consoles(finder=self._finder, catalog=catalog)
        self._relatives = Relatives(
            catalog=catalog, metrics=metrics, viewer=self._viewer, caller=caller
        )
        self.files = RunFiles(finder=self._finder, catalog=catalog, objects=self._objects)

    def may(self, entity: str) -> bool:
        """Whether what belongs to an entity is open to who asks."""
        return self._caller.may(entity)

    def projects(self) -> list[dict[str, Any]]:
        """Every project."""
        return [
            {"entity": entity, "project": project, "runs": runs, "last_started_at": at}
            for entity, project, runs, at in self._catalog.projects()
            if self._caller.may(entity)
        ]

    def runs(self, entity: str, project: str | None) -> list[Document]:
        """RUN of the run that each name points at; not to be changed. `*`: of all entities."""
        if entity != EVERY_ENTITY:
            return self._table.documents(self._finder.entity(entity), project)
        found = {
            one["entity"] for one in self.projects() if project is None or one["project"] == project
        }
        return [run for one in sorted(found) for run in self._table.documents(one, project)]

    def notice(self, keys: set[Key]) -> None:
        """What was remembered of these is to be read again; told after each commit."""
        self._table.notice(keys)

    @property
    def projects_forgotten(self) -> int:
        """How often a project's remembered runs were let go for lack of room."""
        return self._table.forgotten

    def run(self, entity: str, project: str, run: str) -> RunView:
        """One run by run id or immutable id."""
        branch_id, scope = self._finder.run(entity, project, run)
        return self._viewer.views([branch_id], scope)[0]

    def branch(self, branch_id: str) -> RunView:
        """One branch by immutable id."""
        branch_id, scope = self._finder.branch(branch_id)
        return self._viewer.views([branch_id], scope)[0]

    def archived(self, entity: str, project: str, run: str) -> list[RunView]:
        """The archived branches of a run's name, newest first."""
        branch_id, scope = self._finder.run(entity, project, run)
        name = scope.family.branches.by_id[branch_id].name
        return self._viewer.views(self._viewer.archived(name, scope), scope)

    def around(self, entity: str, project: str, run: str, *, limit: int) -> Around:
        """A run with what it comes from and what a rewind left, of each `limit` at most."""
        return self._relatives.around(*self._finder.run(entity, project, run), limit=limit)

    def forks(self, entity: str, project: str, run: str, *, offset: int, limit: int) -> Forks:
        """What was forked from a run, the newest first."""
        branch_id, scope = self._finder.run(entity, project, run)
        return self._relatives.forks(branch_id, scope, offset=offset, limit=limit)

    def summary_at(self, entity: str, project: str, run: str, step: int) -> dict[str, Any]:
        """The summary of a run's history up to a step."""
        branch_id, scope = self._finder.run(entity, project, run)
        return self._viewer.summary_at(branch_id, scope, step)

    def bands(self, wanted: BandRequest) -> Banded:
        """Numbers of metrics over several runs, by equal ranges of steps."""
        request = replace(wanted, entity=self._finder.entity(wanted.entity))
        return bands.read_bands(
            request, self._catalog, self._metrics, self._table, may=self._caller.may
        )
