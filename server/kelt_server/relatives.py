"""The runs around a run: what it came from, and what was forked from it. Blocking.

A fork is shown as its name stands now: it may have been rewound since. Where its name was given to
another run since, the branch that was forked is shown.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kelt_server import facts
from kelt_server.access.callers import Caller
from kelt_server.branch_names import Name
from kelt_server.catalog.store import Catalog
from kelt_server.lineage import Line
from kelt_server.metrics.store import MetricsStore
from kelt_server.run_view import RunView
from kelt_server.scope import Scope
from kelt_server.viewing import Viewer


@dataclass(frozen=True, slots=True)
class Around:
    """A run, the known branches that it comes from, nearest first, and the archived, newest first.

    An archived branch has no archived ones of its own.
    """

    run: RunView
    ancestors: tuple[RunView, ...]
    archived: tuple[RunView, ...]


@dataclass(frozen=True, slots=True)
class Forks:
    """Some of a run's forks, the newest first, and how many there are."""

    views: tuple[RunView, ...]
    total: int


class Relatives:
    """Finds them, as far as they are open to somebody."""

    def __init__(
        self, *, catalog: Catalog, metrics: MetricsStore, viewer: Viewer, caller: Caller
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._viewer = viewer
        self._caller = caller

    def around(self, branch_id: str, scope: Scope, *, limit: int) -> Around:
        """A run with the nearest branches on its line of descent and the latest archived ones.

        Together, since what a long line of descent resolves to is then found once.
        """
        line = scope.lineage.line(branch_id)
        known = [
            ancestor.branch_id
            for ancestor in line.ancestors[:limit]
            if ancestor.fact is not None and self._caller.may(ancestor.fact.entity)
        ]
        archived = self._viewer.archived(line.branch.name, scope)
        left = [] if branch_id in archived else archived[:limit]
        own, *others = self._viewer.views([branch_id, *known, *left], scope)
        return Around(own, tuple(others[: len(known)]), tuple(others[len(known) :]))

    def forks(self, branch_id: str, scope: Scope, *, offset: int, limit: int) -> Forks:
        """What was forked from any branch of a run's name, or from an archived one alone."""
        branches = scope.family.branches
        name = branches.by_id[branch_id].name
        own = {branch_id}
        if branch_id not in self._viewer.archived(name, scope):
            own |= {found for found, branch in branches.by_id.items() if branch.name == name}
        names = [
            fork
            for fork in self._catalog.names_of_forks(name, own)
            if fork != name and self._caller.may(fork[0])
        ]
        asked = names[offset : offset + limit]
        around = Scope(self._catalog.family(asked), self._metrics)
        shown = [found for fork in asked if (found := _forked(fork, own, around)) is not None]
        return Forks(tuple(self._viewer.views(shown, around)), len(names))


def fork_step(line: Line, parents: Collection[str]) -> int | None:
    """The last step that a line of descent has of some branches that it was forked from."""
    for ancestor in line.ancestors:
        if ancestor.child.kind == facts.FORKED and ancestor.branch_id in parents:
            return ancestor.fork_step
    return None


def _forked(name: Name, parents: Collection[str], scope: Scope) -> str | None:
    """The branch to show of a name that was forked; None where its parent is another after all."""
    branches = scope.family.branches
    holder = branches.holder(name)
    if holder is not None and fork_step(scope.lineage.line(holder), parents) is not None:
        return holder
    forked = [
        (branch.made_at, branch_id)
        for branch_id, branch in branches.by_id.items()
        if branch.name == name
        and branch.kind == facts.FORKED
        and branches.parent_of(branch) in parents
    ]
    return max(forked)[1] if forked else None
