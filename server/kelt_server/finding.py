"""Which branch somebody means, with a reading of the catalog that answers questions about it."""

from __future__ import annotations

from kelt_server.access.callers import Caller
from kelt_server.catalog.store import Catalog
from kelt_server.errors import NotFoundError
from kelt_server.lineage import day_of
from kelt_server.metrics.store import MetricsStore
from kelt_server.scope import Scope


class Finder:
    """Finds runs by what people call them, as far as they are open to somebody."""

    def __init__(self, *, catalog: Catalog, metrics: MetricsStore, caller: Caller) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._caller = caller

    def entity(self, entity: str) -> str:
        """The entity that is meant: the caller's own where none is named.

        Raises:
            ForbiddenError: it is not open to the caller.
        """
        return self._caller.check(entity)

    def run(self, entity: str, project: str, run: str) -> tuple[str, Scope]:
        """The immutable id of a run, by run id or immutable id.

        Raises:
            NotFoundError: there is none.
        """
        name = (self.entity(entity), project, run)
        family = self._catalog.family([name])
        holder = family.branches.holder(name)
        if holder is not None:
            return holder, Scope(family, self._metrics)
        try:
            return self.branch(run)
        except NotFoundError:
            deleted_at = self._catalog.deletions.last_at(name)
            why = "" if deleted_at is None else f": it was deleted on {day_of(deleted_at)}"
            raise NotFoundError(
                f"there is no run {run!r} in {name[0]}/{project}{why}; `kelt runs ls` lists what "
                "is there, and a run logged offline comes with `kelt sync`"
            ) from None

    def branch(self, branch_id: str) -> tuple[str, Scope]:
        """Likewise of a branch, by immutable id.

        Raises:
            NotFoundError: there is none.
        """
        name = self._catalog.name_of(branch_id)
        if name is None or not self._caller.may(name[0]):
            raise NotFoundError(
                f"there is no branch {branch_id!r}; a run's `immutable_id`, `lineage` and "
                "`archived` name those that are there"
            )
        return branch_id, Scope(self._catalog.family([name], [branch_id]), self._metrics)

    def branches_of(self, entity: str, project: str, run_id: str) -> list[str]:
        """The immutable ids of every branch that a name was given; none where it is unknown."""
        name = (self.entity(entity), project, run_id)
        branches = self._catalog.family([name]).branches
        holder = branches.holder(name)
        return [] if holder is None else [holder, *branches.archived(name, [holder])]
