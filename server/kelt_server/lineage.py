"""The history of a branch, as spans of stored rows. Pure; rows are counted by an argument.

A branch's history is its own rows and its parent's up to the fork step. Cuts add up: what a branch
inherits through its parent is cut by both. A cut is a step of the history, and a row's step is

* as stored, for a row with an absolute step;
* stored + base, for a row with a relative step (`FLAG_RELATIVE_STEP`). Each writer has one base:
  the end (highest step + 1) of the history that its session continued, that is, of the parent of
  the continuation branch that it opened. It is 0 where nothing was there to continue. The base
  holds on whatever branch the row lies, also after a rewind in that session.

All rows of a session that resumed an unknown run lie on its continuation branch, those with
absolute steps too: `log(…, step=5)` means step 5 whatever was there before. So nothing is moved
when the parent's rows arrive late: bases are found when read, and grow with what arrives.

A branch that is not known yet has no rows to show and no parent; a line of descent that comes back
to itself ends there. Both are told as problems, never refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from kelt_server import facts
from kelt_server.branch_names import Branches, Deleted
from kelt_server.facts import BranchFact, SessionFact
from kelt_server.metrics.store import Span, Stream

#: A longer line of descent is cut here, and says so.
DEPTH_MAX = 10_000
#: No step is above; bases stop here.
STEP_BOUND = 2**61

HighestStep = Callable[[Sequence[Span]], int]


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A branch on the line of descent, and how the line left it.

    `fact` is None if it is unknown: it has not arrived yet, or its run was deleted before its
    child arrived.
    """

    branch_id: str
    fact: BranchFact | None
    child: BranchFact
    fork_step: int | None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A branch with its ancestors, nearest first, and what is odd about them."""

    branch: BranchFact
    ancestors: tuple[Ancestor, ...]
    problems: tuple[str, ...]


class Lineage:
    """Resolves histories. Mutable state: answers already found, in one reading."""

    def __init__(
        self,
        branches: Branches,
        *,
        sessions: Mapping[bytes, SessionFact],
        streams: Mapping[str, Sequence[Stream]],
        highest_step: HighestStep,
    ) -> None:
        self._branches = branches
        self._sessions = sessions
        self._streams = streams
        self._highest_step = highest_step
        self._bases: dict[bytes, int] = {}
        self._ends: dict[str, int] = {}
        self._resolving: set[bytes] = set()

    def line(self, branch_id: str) -> Line:
        """The line of descent of a known branch."""
        branch = self._branches.by_id[branch_id]
        seen = {branch_id}
        ancestors: list[Ancestor] = []
        problems: list[str] = []
        child = branch
        while (parent_id := self._branches.parent_of(child)) is not None:
            if parent_id in seen:
                problems.append(f"its line of descent comes back to itself at {parent_id}")
                break
            if len(ancestors) >= DEPTH_MAX:
                problems.append(f"its line of descent is cut after {DEPTH_MAX} branches")
                break
            seen.add(parent_id)
            fact = self._branches.by_id.get(parent_id)
            deleted_at = self._branches.deleted.branches.get(parent_id)
            is_deleted = deleted_at is not None if fact is None else _is_buried(fact)
            ancestors.append(Ancestor(parent_id, fact, child, child.parent_step, is_deleted))
            if fact is None:
                problems.append(_missing_parent(child, parent_id, deleted_at))
                break
            child = fact
        problems += _beginning_problems(child, self._branches.deleted)
        if child is branch and not ancestors:
            problems += _unknown_parent(branch, self._branches.deleted)
        return Line(branch, tuple(ancestors), tuple(problems))

    def spans(self, branch_id: str) -> tuple[Span, ...]:
        """The history of a branch."""
        if branch_id not in self._branches.by_id:
            return ()
        line = self.line(branch_id)
        cuts: list[tuple[str, int | None]] = [(branch_id, None)]
        cut: int | None = None
        for ancestor in line.ancestors:
            if ancestor.fork_step is not None:
                cut = ancestor.fork_step if cut is None else min(cut, ancestor.fork_step)
            cuts.append((ancestor.branch_id, cut))
        found: list[Span] = []
        # From the root on: each base then finds those that it rests on, without recursion.
        for position, (own_id, limit) in enumerate(reversed(cuts)):
            found += self._own_spans(own_id, position, limit)
        return tuple(found)

    def end(self, branch_id: str) -> int:
        """The highest step of a branch's history, -1 without rows."""
        if branch_id not in self._ends:
            self._ends[branch_id] = self._end_of(self.spans(branch_id))
        return self._ends[branch_id]

    def base(self, writer_id: bytes) -> int:
        """What is added to a writer's relative steps."""
        if writer_id in self._bases:
            return self._bases[writer_id]
        session = self._sessions.get(writer_id)
        if session is None or not session.point_unknown or writer_id in self._resolving:
            return 0
        self._resolving.add(writer_id)
        try:
            branch = self._branches.by_id.get(session.branch_id)
            parent = None if branch is None else self._branches.parent_of(branch)
            base = 0 if parent is None else min(self.end(parent) + 1, STEP_BOUND)
        finally:
            self._resolving.discard(writer_id)
        self._bases[writer_id] = base
        return base

    def point_problems(self, line: Line) -> list[str]:
        """What is odd about the points at which a line of descent leaves its branches."""
        problems = []
        for ancestor in line.ancestors:
            if ancestor.fact is None or ancestor.fork_step is None:
                continue
            child, step = ancestor.child, ancestor.fork_step
            end = self.end(ancestor.branch_id)
            if step > end:
                shown = "has no rows" if end < 0 else f"ends at step {end}"
                problems.append(
                    f"{child.run_id} was {child.kind} at step {step}, but the history it left "
                    f"({ancestor.fact.run_id}) {shown}; either its rows have not arrived yet or "
                    "the point never was"
                )
        return problems

    def _own_spans(self, branch_id: str, position: int, cut: int | None) -> list[Span]:
        spans = [Span(branch_id, position, None, 0, cut)]
        for stream in self._streams.get(branch_id, ()):
            if stream.relative:
                base = self.base(stream.writer_id)
                limit = None if cut is None else cut - base
                spans.append(Span(branch_id, position, stream.writer_id, base, limit))
        return spans

    def _end_of(self, spans: Sequence[Span]) -> int:
        """From what is known of the streams; only a span cut below its end needs a look at rows."""
        end = -1
        unclear: list[tuple[int, Span]] = []
        for span in spans:
            for stream in self._streams.get(span.branch_id, ()):
                wanted = span.writer_id if stream.relative else None
                if stream.relative != (span.writer_id is not None):
                    continue
                if stream.relative and wanted != stream.writer_id:
                    continue
                if span.step_max is None or stream.step_max <= span.step_max:
                    end = max(end, stream.step_max + span.offset)
                elif stream.step_min <= span.step_max:
                    unclear.append((span.step_max + span.offset, span))
        asked = [span for highest, span in unclear if highest > end]
        return max(end, self._highest_step(asked)) if asked else end


def _beginning_problems(root: BranchFact, deleted: Deleted) -> list[str]:
    """What is odd about how the oldest known branch of a line began."""
    if root.kind == facts.ORPHAN:
        return [f"the record that opened {root.run_id} was lost, so its run is not known"]
    if root.kind != facts.RESUMED:
        return []
    beginning = f"the beginning of {root.run_id} ({root.branch_id})"
    deleted_at = deleted.branches.get(root.branch_id)
    if deleted_at is None:
        return [f"{beginning} has not arrived yet"]
    return [f"{beginning} was deleted on {day_of(deleted_at)}; only what was logged since is here"]


def _unknown_parent(branch: BranchFact, deleted: Deleted) -> list[str]:
    """Of a branch that left a name of which no run is known."""
    if branch.kind not in (facts.FORKED, facts.REWOUND):
        return []
    left = f"the run that it was {branch.kind} from ({branch.parent_run_id})"
    name = (branch.parent_entity, branch.parent_project, branch.parent_run_id)
    deleted_at = deleted.names.get(name)
    if deleted_at is None:
        return [f"{left} has not arrived yet"]
    if deleted_at < branch.made_at:
        one = f"one of its name was deleted on {day_of(deleted_at)}"
        return [f"{left} has not arrived yet; {one}"]
    return [f"{left} was deleted on {day_of(deleted_at)}: {_inherited(branch)}"]


def _is_buried(fact: BranchFact) -> bool:
    return fact.entity == facts.BURIED_ENTITY


def _missing_parent(child: BranchFact, parent_id: str, deleted_at: float | None) -> str:
    left = f"the run that {child.run_id} was {child.kind} from"
    if deleted_at is None:
        return f"{left} ({parent_id}) has not arrived yet"
    return (
        f"{left} ({child.parent_run_id or parent_id}) was deleted on {day_of(deleted_at)}, before "
        f"{child.run_id} arrived: {_inherited(child)}"
    )


def _inherited(child: BranchFact) -> str:
    up_to = "" if child.parent_step is None else f" up to step {child.parent_step}"
    return f"the rows{up_to} that it inherits went with it, and only its own are here"


def day_of(at: float) -> str:
    """A time of day as sentences have it."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d at %H:%M UTC")
