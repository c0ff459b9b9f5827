"""RUN of the read API for every run of a project, remembered until what it rests on changes.

A page of a project filters and orders all of its runs, and to resolve ten thousand of them out of
facts and points takes seconds. So what was resolved is kept, with the keys of all that it rests on
(`kelt_server.changes`): commits tell which keys they touched, and the runs that rest on those are
resolved again when somebody asks next. What time alone changes, a silence that has become too
long, is known beforehand: a run is kept until then.

Bound: `cells_max` values of configs and summaries. At it the projects that were asked for least
recently are forgotten, which is counted; a project that is larger alone is kept as far as it goes,
and the rest of it is resolved at each question.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kelt_server.branch_names import Name
from kelt_server.changes import Key

#: About 60 bytes each, and as much again of sessions and lineage where runs have few.
CELLS_MAX = 4_000_000
#: Runs resolved at a time: bounds what is in memory at once.
_AT_ONCE = 500

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A run's document, what it rests on, and until when it holds if none of that changes."""

    name: Name
    document: Document
    rests_on: frozenset[Key]
    holds_until: float

    @property
    def cells(self) -> int:
        """What it counts for."""
        return 1 + len(self.document["config"]) + len(self.document["summary"])


@dataclass
class _Project:
    """Mutable state: the runs of one question. `stale` holds names that were never resolved too."""

    runs: dict[Name, Resolved] = field(default_factory=dict)
    stale: set[Name] = field(default_factory=set)
    cells: int = 0
    holds_until: float = float("inf")


_Where = tuple[str, str | None]


class RunTable:
    """Mutable state: what is remembered, behind two locks.

    `_asking` is held while runs are resolved, `_state` for moments, since commits wait for it.
    """

    def __init__(
        self,
        *,
        names: Callable[[str, str | None], Iterable[Name]],
        resolve: Callable[[Sequence[Name]], Iterable[Resolved]],
        clock: Callable[[], float],
        cells_max: int = CELLS_MAX,
    ) -> None:
        self._names = names
        self._resolve = resolve
        self._clock = clock
        self._cells_max = cells_max
        self._asking = threading.Lock()
        self._state = threading.Lock()
        self._projects: OrderedDict[_Where, _Project] = OrderedDict()
        self._dependents: dict[Key, set[tuple[_Where, Name]]] = {}
        #: Collected while runs are being resolved, else None.
        self._noticed: set[Key] | None = None
        self.forgotten = 0

    def notice(self, keys: set[Key]) -> None:
        """What rests on these is to be resolved again."""
        with self._state:
            if self._noticed is not None:
                self._noticed |= keys
            for key in keys:
                if isinstance(key, tuple):
                    wheres: tuple[_Where, ...] = ((key[0], None), (key[0], key[1]))
                    for where in wheres:
                        if where in self._projects:
                            self._projects[where].stale.add(key)
                for where, name in self._dependents.get(key, ()):
                    self._projects[where].stale.add(name)

    def documents(self, entity: str, project: str | None) -> list[Document]:
        """The runs of a project, or of an entity, as they are now."""
        where = (entity, project)
        with self._asking:
            kept = self._opened(where)
            self._drop_expired(kept)
            with self._state:
                stale, kept.stale = sorted(kept.stale), set()
            unkept: dict[Name, Document] = {}
            try:
                for start in range(0, len(stale), _AT_ONCE):
                    unkept |= self._resolve_again(where, kept, stale[start : start + _AT_ONCE])
            except BaseException:
                with self._state:
                    kept.stale.update(stale)
                raise
            documents = [run.document for run in kept.runs.values()]
            documents += unkept.values()
            with self._state:
                kept.stale.update(unkept)
                self._make_room(where)
            return documents

    def _opened(self, where: _Where) -> _Project:
        with self._state:
            if where in self._projects:
                self._projects.move_to_end(where)
                return self._projects[where]
            kept = self._projects[where] = _Project()
        names = set(self._names(*where))
        with self._state:  # a name made meanwhile was noticed
            kept.stale |= names
        return kept

    def _drop_expired(self, kept: _Project) -> None:
        now = self._clock()
        if now <= kept.holds_until:
            return
        with self._state:
            kept.stale.update(name for name, run in kept.runs.items() if now > run.holds_until)

    def _resolve_again(
        self, where: _Where, kept: _Project, names: Sequence[Name]
    ) -> dict[Name, Document]:
        """Keeps what there is room for; returns the rest."""
        with self._state:
            self._noticed = set()
        resolved = [_slim(run) for run in self._resolve(names)]
        over: dict[Name, Document] = {}
        with self._state:
            noticed, self._noticed = self._noticed or set(), None
            for name in names:
                self._remove(where, kept, name)
            for run in resolved:
                if kept.cells + run.cells > self._cells_max:
                    over[run.name] = run.document
                    continue
                self._add(where, kept, run)
                if not noticed.isdisjoint(run.rests_on):  # while it was being resolved
                    kept.stale.add(run.name)
            kept.holds_until = min(
                (run.holds_until for run in kept.runs.values()), default=float("inf")
            )
        return over

    def _add(self, where: _Where, kept: _Project, run: Resolved) -> None:
        kept.runs[run.name] = run
        kept.cells += run.cells
        for key in run.rests_on:
            self._dependents.setdefault(key, set()).add((where, run.name))

    def _remove(self, where: _Where, kept: _Project, name: Name) -> None:
        run = kept.runs.pop(name, None)
        if run is None:
            return
        kept.cells -= run.cells
        for key in run.rests_on:
            dependents = self._dependents[key]
            dependents.discard((where, name))
            if not dependents:
                del self._dependents[key]

    def _make_room(self, where: _Where) -> None:
        """Forgets whole projects, those first that were asked for least recently."""
        while sum(kept.cells for kept in self._projects.values()) > self._cells_max:
            oldest = next(found for found in self._projects if found != where)
            kept = self._projects[oldest]
            for name in list(kept.runs):
                self._remove(oldest, kept, name)
            del self._projects[oldest]
            self.forgotten += 1


def _slim(run: Resolved) -> Resolved:
    """Runs of a project share their keys: one text each instead of one for each run."""
    document = dict(run.document)
    for part in ("config", "summary"):
        document[part] = {sys.intern(key): value for key, value in document[part].items()}
    return Resolved(run.name, document, run.rests_on, run.holds_until)
