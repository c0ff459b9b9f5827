"""Which branch a name points at. Pure.

A run id is a name that points at a branch. Whatever creates or moves a name makes a branch with
that name and a time; the latest holds it, the others stay and are archived. Two facts about one
branch (a copied run folder, a session that resumed before the beginning arrived) are settled by
order, not by arrival: what says how it began goes before what only went on with it, then the
earlier one.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kelt_server import facts
from kelt_server.facts import BranchFact

Name = tuple[str, str, str]

_RANKS = {facts.SHARED: 1, facts.RESUMED: 2, facts.ORPHAN: 3}


def _order(fact: BranchFact) -> tuple[int, float, bytes, int]:
    return _RANKS.get(fact.kind, 0), fact.made_at, fact.writer_id, fact.seq


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted, and when last: by the immutable ids that it had, and by name."""

    branches: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[Name, float] = field(default_factory=dict)


class Branches:
    """Every branch that is known, by immutable id and by name."""

    def __init__(self, said: Iterable[BranchFact], deleted: Deleted | None = None) -> None:
        self.deleted = deleted or Deleted()
        self.by_id: dict[str, BranchFact] = {}
        for fact in said:
            known = self.by_id.get(fact.branch_id)
            if known is None or _order(fact) < _order(known):
                self.by_id[fact.branch_id] = fact
        self._by_name: dict[Name, list[tuple[float, str]]] = {}
        for branch in self.by_id.values():
            self._by_name.setdefault(branch.name, []).append((branch.made_at, branch.branch_id))
        for candidates in self._by_name.values():
            candidates.sort()

    def names(self) -> Iterable[Name]:
        """Every name."""
        return self._by_name.keys()

    def holder(self, name: Name) -> str | None:
        """The immutable id that a name points at."""
        candidates = self._by_name.get(name)
        return candidates[-1][1] if candidates else None

    def holder_before(self, name: Name, branch: BranchFact) -> str | None:
        """The immutable id that a name pointed at just before a branch was made."""
        candidates = self._by_name.get(name, [])
        index = bisect.bisect_left(candidates, (branch.made_at, branch.branch_id))
        return candidates[index - 1][1] if index else None

    def parent_of(self, branch: BranchFact) -> str | None:
        """The immutable id that a branch leaves from: known or not, None where there is none.

        By name, it is the branch that held the name then; where none did by its clock, the first
        that did afterwards, for clocks of two hosts differ, and a fork may come before its parent;
        but not where a run of the name was deleted since, for that was its parent.
        """
        if branch.parent_branch_id:
            return branch.parent_branch_id
        if not branch.parent_run_id:
            return None
        name = (branch.parent_entity, branch.parent_project, branch.parent_run_id)
        before = self.holder_before(name, branch)
        if before is not None or branch.kind in facts.GOING_ON:
            return before
        if self.deleted.names.get(name, -math.inf) >= branch.made_at:
            return None
        later = (branch_id for _, branch_id in self._by_name.get(name, ()))
        return next((branch_id for branch_id in later if branch_id != branch.branch_id), None)

    def related(self, name: Name) -> set[str | Name]:
        """The branches of a name, all that they descend from, and the names of those.

        Known or not: what a view of the name rests on, and what it would rest on if it came.
        """
        found: set[str | Name] = set()
        waiting: list[str | Name] = [name]
        while waiting:
            one = waiting.pop()
            if one in found:
                continue
            found.add(one)
            if isinstance(one, tuple):
                waiting += [branch_id for _, branch_id in self._by_name.get(one, ())]
            elif (branch := self.by_id.get(one)) is not None:
                waiting.append(branch.name)
                if branch.parent_branch_id:
                    waiting.append(branch.parent_branch_id)
                elif branch.parent_run_id:
                    parent = (branch.parent_entity, branch.parent_project, branch.parent_run_id)
                    waiting.append(parent)
        return found

    def archived(self, name: Name, kept: Iterable[str]) -> list[str]:
        """The branches of a name that do not hold it, newest first; `kept` are not archived.

        A continuation or a shared run does not archive what it goes on with, so the caller keeps
        that.
        """
        holder, keeps = self.holder(name), set(kept)
        candidates = reversed(self._by_name.get(name, []))
        return [found for _, found in candidates if found != holder and found not in keeps]
