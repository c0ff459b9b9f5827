"""One run as people see it, out of facts and numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kelt_server import facts, shared_writers
from kelt_server.catalog.store import Family
from kelt_server.config_history import RunInfo, session_order
from kelt_server.facts import LossFact, SessionFact
from kelt_server.lineage import Ancestor, Line
from kelt_server.liveness import RUNNING, SessionState
from kelt_server.metrics.store import RowTotals
from kelt_server.values import plain


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session with its state, and what it logged of the history: totals by stream."""

    session: SessionFact
    state: SessionState
    totals: tuple[RowTotals, ...] = ()
    is_asked_to_stop: bool = False

    def as_json(self) -> dict[str, Any]:
        """As the read API says it."""
        session, state = self.session, self.state
        last_at = max((total.last_timestamp for total in self.totals), default=None)
        return {
            "is_shared": session.is_shared,
            "is_primary": session.is_primary,
            "label": session.label,
            "rows": sum(total.rows for total in self.totals),
            "last_step": max((total.last_step for total in self.totals), default=-1),
            "last_row_at": plain(last_at),
            "writer_id": session.writer_id.hex(),
            "immutable_id": session.branch_id,
            "hostname": session.hostname,
            "pid": session.pid,
            "program": session.program,
            "python": session.python,
            "sdk_version": session.sdk_version,
            "started_at": session.started_at,
            "state": state.state,
            "reason": state.reason,
            "state_at": state.at,
            "offline_since": state.offline_since,
            "heartbeat_at": state.heartbeat_at,
            "is_asked_to_stop": self.is_asked_to_stop,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One branch, seen whole. `sessions` are newest first."""

    line: Line
    held_by: str
    archived: tuple[str, ...]
    created_at: float
    state: SessionState
    newest: SessionFact | None
    sessions: tuple[SessionView, ...]
    info: RunInfo
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    definitions: tuple[facts.DefinitionFact, ...]
    labels: tuple[str, ...]
    rows: int
    last_step: int
    runtime: float | None
    rows_step_went_down: int
    losses: tuple[LossFact, ...]
    problems: tuple[str, ...]

    @property
    def is_archived(self) -> bool:
        """Whether the name points elsewhere, and not through continuations of this branch."""
        return self.line.branch.branch_id in self.archived

    def as_json(self) -> dict[str, Any]:
        """RUN of the read API."""
        branch, state, info = self.line.branch, self.state, self.info
        beats = [view.state.heartbeat_at for view in self.sessions]
        return {
            "entity": branch.entity,
            "project": branch.project,
            "run_id": branch.run_id,
            "immutable_id": branch.branch_id,
            "name": info.name or branch.run_id,
            "notes": info.notes,
            "group": info.group,
            "job_type": info.job_type,
            "tags": list(info.tags),
            "state": state.state,
            "reason": state.reason,
            "state_at": state.at,
            "offline_since": state.offline_since,
            "created_at": self.created_at,
            "started_at": branch.made_at if self.newest is None else self.newest.started_at,
            "heartbeat_at": max((beat for beat in beats if beat is not None), default=None),
            "runtime": plain(self.runtime),
            "rows": self.rows,
            "last_step": self.last_step,
            "kind": branch.kind,
            "is_archived": self.is_archived,
            "is_asked_to_stop": any(
                view.is_asked_to_stop and view.state.state == RUNNING for view in self.sessions
            ),
            "held_by": self.held_by,
            "lineage": [_ancestor_json(ancestor) for ancestor in self.line.ancestors],
            "archived": list(self.archived),
            "config": plain(dict(self.config)),
            "summary": plain(dict(self.summary)),
            "definitions": [_definition_json(definition) for definition in self.definitions],
            "losses": [_loss_json(loss) for loss in self.losses],
            "lost_rows": sum(loss.rows for loss in self.losses),
            "rows_step_went_down": self.rows_step_went_down,
            "problems": list(self.problems),
            "labels": list(self.labels),
            "host": "" if self.newest is None else self.newest.hostname,
            "sessions": [view.as_json() for view in self.sessions],
        }


def same_name_chain(line: Line) -> list[str]:
    """The branch and the ancestors that its name was moved along: rewound and continued ones."""
    chain = [line.branch.branch_id]
    for ancestor in line.ancestors:
        if ancestor.child.kind == facts.FORKED:
            break
        chain.append(ancestor.branch_id)
    return chain


def continued_chain(line: Line) -> list[str]:
    """The branch and those that it merely goes on with."""
    chain = [line.branch.branch_id]
    for ancestor in line.ancestors:
        if ancestor.child.kind not in facts.GOING_ON:
            break
        chain.append(ancestor.branch_id)
    return chain


def sessions_of(branch_ids: Iterable[str], family: Family) -> list[SessionFact]:
    """The sessions that wrote on any of the branches, newest first.

    Edits are none, and who tells a session again is that session.
    """
    writers = {w for branch_id in branch_ids for w in family.writers_of.get(branch_id, ())}
    known = [
        family.sessions[w]
        for w in writers
        if w in family.sessions and not session_order(w, family.sessions).retold_by
    ]
    found = [session for session in known if session.resume_mode != facts.EDIT]
    return sorted(found, key=lambda s: session_order(s.writer_id, family.sessions), reverse=True)


def created_at(line: Line, family: Family) -> float:
    """When the name of this branch began, as far as is known."""
    known = (family.branches.by_id.get(branch_id) for branch_id in same_name_chain(line))
    return min((b.made_at for b in known if b is not None), default=line.branch.made_at)


def resume_problems(sessions: Sequence[SessionFact], line: Line) -> list[str]:
    """What turned out impossible about how sessions resumed."""
    problems = []
    parents = {ancestor.child.branch_id for ancestor in line.ancestors if ancestor.fact}
    for session in sessions:
        if not session.point_unknown or session.branch_id != line.branch.branch_id:
            continue
        if session.resume_mode == "must" and session.branch_id not in parents:
            problems.append("it was to resume a run (resume='must'), but there was none to resume")
        if session.resume_mode == "never" and session.branch_id in parents:
            problems.append("it was to be new (resume='never'), but a run of its name was there")
    return problems


def rival_problems(line: Line, archived: Sequence[str]) -> list[str]:
    """Branches of the same name that this one does not descend from."""
    ancestors = {ancestor.branch_id for ancestor in line.ancestors}
    own = line.branch.branch_id
    rivals = [found for found in archived if found not in ancestors and found != own]
    if own in archived:
        return []
    return [
        f"another session made or moved the name {line.branch.run_id} too; "
        f"what it wrote is kept as {rival}"
        for rival in rivals
    ]


def deciding(views: Sequence[SessionView]) -> tuple[SessionFact, SessionState] | None:
    """The session whose state is the run's: the newest, or of shared writers their primary."""
    judged = [(view.session, view.state) for view in views]
    writers = shared_writers.together(judged)
    if writers:
        return shared_writers.deciding(writers)
    return judged[0] if judged else None


def no_state(line: Line) -> SessionState:
    """The state of a branch without a session."""
    return SessionState(RUNNING, "no session of it has arrived yet", line.branch.made_at)


def writer_problems(views: Sequence[SessionView], line: Line) -> list[str]:
    """What is odd about the writers of a shared run; `views` are of the name's sessions."""
    judged = [(view.session, view.state) for view in views]
    return [
        *shared_writers.problems(shared_writers.together(judged)),
        *shared_writers.left_behind(line, judged),
    ]


def _ancestor_json(ancestor: Ancestor) -> dict[str, Any]:
    fact, child = ancestor.fact, ancestor.child
    is_buried = ancestor.is_deleted and fact is not None
    return {
        "immutable_id": ancestor.branch_id,
        "entity": fact.entity if fact and not is_buried else child.parent_entity,
        "project": fact.project if fact else child.parent_project,
        "run_id": fact.run_id if fact else child.parent_run_id,
        "fork_step": ancestor.fork_step,
        "kind": facts.CONTINUED if child.kind in facts.GOING_ON else child.kind,
        "known": fact is not None,
        "is_deleted": ancestor.is_deleted,
    }


def _definition_json(definition: facts.DefinitionFact) -> dict[str, Any]:
    return {
        "name": definition.name,
        "step_metric": definition.step_metric,
        "summary": definition.summary,
        "goal": definition.goal,
        "hidden": definition.hidden,
    }


def _loss_json(loss: LossFact) -> dict[str, Any]:
    return {
        "writer_id": loss.writer_id.hex(),
        "first_seq": loss.first_seq,
        "last_seq": loss.last_seq,
        "rows": loss.rows,
        "reason": loss.reason,
    }
