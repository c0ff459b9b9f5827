"""Where a run comes from: new, forked, rewound or resumed, as far as it can be known now.

What this host knows comes first, because it holds without a network and for runs that were never
sent. For a run from elsewhere the upstream is asked, for a bounded time. If it does not answer, the
run goes on: a fork or rewind needs only its step, and a resumed run counts its automatic steps
from an end that the server knows.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from kelt.branching import Point, check_within, parse_point
from kelt.errors import BranchPointError, DaemonError, RunIdInUseError, UsageError
from kelt.live_sessions import writer_now
from kelt.local_history import BranchState, LocalHistory
from kelt.local_runs import BranchRecord, ElsewhereState, LocalRuns
from kelt.metric_definitions import DefinitionTable, MetricDefinition
from kelt.names import new_branch_id, new_run_id
from kelt.records import Opening, PointRef, RunFacts
from kelt.row_plans import StepCount
from kelt.run_summary import SummaryState
from kelt.settings import Settings
from kelt.shared_mode import is_shared, live_writers
from kelt_proto.v1.rows import STEP_MAX


@dataclass(frozen=True, kw_only=True)
class RemoteRun:
    """What the upstream knows of a run."""

    run_id: str
    branch_id: str
    name: str
    state: ElsewhereState
    definitions: tuple[MetricDefinition, ...] = ()
    #: Of a shared run: writer id, and label and host.
    live_writers: tuple[tuple[str, str], ...] = ()


class Describe(Protocol):
    """Asks the upstream for a run."""

    def __call__(self, reference: str, step: int | None) -> RemoteRun | None:
        """The run, None where there is none.

        Raises:
            DaemonError: nobody can tell now.
        """


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a session begins.

    Attributes:
        branch: the branch that it writes, as this host will know it.
        is_new_branch: whether that branch begins here.
        inherited: what the run has from before; read when it is first needed.
        facts: what people see, as far as it is inherited.
        warning: what the user should know, or nothing.
    """

    opening: Opening
    branch: BranchRecord
    is_new_branch: bool
    steps: StepCount = field(default_factory=StepCount)
    runtime: float = 0.0
    inherited: Callable[[], BranchState] = BranchState
    definitions: DefinitionTable = field(default_factory=DefinitionTable)
    facts: RunFacts = field(default_factory=RunFacts)
    warning: str = ""


class OriginFinder:
    """Decides where a run comes from.

    Args:
        settings: the run's id, project and resume mode.
        local: what this host knows.
        history: reads it.
        describe: asks the upstream; None where it cannot be asked (offline).
        place: what `resume="auto"` remembers a run by.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        local: LocalRuns,
        history: LocalHistory,
        describe: Describe | None,
        place: Path,
    ) -> None:
        self._settings = settings
        self._local = local
        self._history = history
        self._describe = describe
        self._place = place
        self._entity = settings.entity or ""

    def find(self, *, fork_from: object | None, resume_from: object | None) -> Origin:
        """The origin that the user asked for.

        Raises:
            UsageError: it cannot be; the message says what would do.
        """
        if fork_from is not None:
            return self._fork(parse_point(fork_from, "fork_from"), f"fork_from={fork_from!r}")
        if resume_from is not None:
            return self._rewind(
                parse_point(resume_from, "resume_from"), f"resume_from={resume_from!r}"
            )
        if self._settings.resume is not None:
            return self._resume(self._settings.resume)
        return self._create(self._settings.run_id)

    # -- new -------------------------------------------------------------------------------------

    def _create(self, run_id: str | None) -> Origin:
        return Origin(
            opening=Opening(kind="created"),
            branch=self._new_branch(run_id or new_run_id(), parent=None),
            is_new_branch=True,
            warning=self._warning_of_use(run_id),
        )

    def _warning_of_use(self, run_id: str | None) -> str:
        if not run_id or (earlier := self._named(run_id)) is None or self._settings.shared:
            return ""
        if others := live_writers(earlier, self._local, None):
            raise RunIdInUseError(
                f"run {run_id!r} is being written by others at this time ({', '.join(others)}); "
                "pass mode='shared' to join them, or choose another id."
            )
        if writer := writer_now(self._local, earlier):
            return (
                f"{writer} is writing run {run_id!r} and goes on under {earlier.branch_id}, where "
                "that run is archived now; to write one run together, pass mode='shared'"
            )
        return (
            f"run id {run_id!r} was used before: its earlier history is archived as "
            f"{earlier.branch_id}; to go on with it instead, pass resume='allow'"
        )

    # -- fork and rewind -------------------------------------------------------------------------

    def _fork(self, point: Point, what: str) -> Origin:
        run_id = self._settings.run_id
        known = self._local.find(self._entity, self._settings.project, point.run)
        if run_id is not None and run_id in {point.run, known.run_id if known else None}:
            raise UsageError(
                f"{what} with id={run_id!r}: a fork gets a run id of its own; leave id out, "
                f"or use resume_from to rewind {run_id!r}."
            )
        warning = self._warning_of_use(run_id)
        origin = self._leave(point, what, "forked", run_id)
        return replace(origin, warning="; ".join(filter(None, (warning, origin.warning))))

    def _rewind(self, point: Point, what: str) -> Origin:
        run_id = self._settings.run_id
        known = self._local.find(self._entity, self._settings.project, point.run)
        name = known.run_id if known is not None else point.run
        if run_id is not None and run_id not in {name, point.run}:
            raise UsageError(
                f"{what} with id={run_id!r}: a rewind keeps the run id {name!r}; leave id out, "
                "or use fork_from to make a new run."
            )
        return self._leave(point, what, "rewound", None)

    def _leave(self, point: Point, what: str, kind: str, run_id: str | None) -> Origin:
        known = self._local.find(self._entity, self._settings.project, point.run)
        if known is not None and not (
            _lies_elsewhere(known, point.step) or self._may_have_more(known)
        ):
            return self._leave_known(known, point.step, what, kind, run_id)
        try:
            remote = self._ask(point.run, point.step)
        except DaemonError as error:
            if known is not None:
                return self._leave_known(known, point.step, what, kind, run_id)
            return self._leave_unknown(point, kind, run_id, error)
        if known is not None and (remote is None or remote.state.last_step < point.step):
            return self._leave_known(known, point.step, what, kind, run_id)
        if remote is None:
            raise BranchPointError(
                f"{what}: there is no run {point.run!r} in project "
                f"{self._settings.project!r}, neither on this host nor on the server; "
                "check the id and the project."
            )
        check_within(point.step, remote.state.last_step, what)
        parent = self._point(remote.run_id, remote.branch_id, point.step)
        return Origin(
            opening=Opening(kind=kind, point=parent),
            branch=self._new_branch(self._name_of(kind, run_id, remote.run_id), parent=parent),
            is_new_branch=True,
            steps=StepCount(highest=point.step),
            inherited=lambda: _state_of(remote),
            definitions=_table(remote.definitions),
            facts=RunFacts(name=remote.name or None) if kind == "rewound" else RunFacts(),
        )

    def _leave_known(
        self, known: BranchRecord, step: int, what: str, kind: str, run_id: str | None
    ) -> Origin:
        if kind == "rewound" and known.project != self._settings.project:
            raise BranchPointError(
                f"{what}: that run belongs to project {known.project!r}; "
                f"pass project={known.project!r}."
            )
        if not known.is_relative and not is_shared(known):
            check_within(step, self._history.last_step(known), what)
        parent = PointRef(
            entity=known.entity,
            project=known.project,
            run_id=known.run_id,
            branch_id=known.branch_id,
            step=step,
        )
        now = time.time()
        return Origin(
            opening=Opening(kind=kind, point=parent),
            branch=self._new_branch(self._name_of(kind, run_id, known.run_id), parent=parent),
            is_new_branch=True,
            steps=StepCount(highest=step),
            runtime=self._history.runtime(known) if kind == "rewound" else 0.0,
            inherited=lambda: self._history.state(known, step=step, at=now),
            definitions=self._local.definitions(known, step),
            facts=RunFacts(name=known.name) if kind == "rewound" else RunFacts(),
        )

    def _leave_unknown(
        self, point: Point, kind: str, run_id: str | None, error: DaemonError
    ) -> Origin:
        parent = self._point(point.run, "", point.step)
        verb = "forks" if kind == "forked" else "rewinds"
        return Origin(
            opening=Opening(kind=kind, point=parent),
            branch=self._new_branch(self._name_of(kind, run_id, point.run), parent=parent),
            is_new_branch=True,
            steps=StepCount(highest=point.step),
            warning=(
                f"this run {verb} {point.run!r} at step {point.step}, which this host does not "
                f"know ({error}); config and summary of it are joined on the server"
            ),
        )

    @staticmethod
    def _name_of(kind: str, run_id: str | None, parent_run_id: str) -> str:
        return parent_run_id if kind == "rewound" else run_id or new_run_id()

    # -- resume ----------------------------------------------------------------------------------

    def _resume(self, mode: str) -> Origin:
        settings = self._settings
        run_id = settings.run_id
        if run_id is None and mode == "auto":
            run_id = self._local.unfinished(self._entity, settings.project, self._place)
        if run_id is None:
            if mode == "must":
                raise UsageError("resume='must' needs the id of the run to resume; pass id=…")
            return self._create(None)
        known = self._named(run_id)
        if mode == "never":
            return self._never(run_id, known)
        if known is not None:
            return self._resume_here(known, mode)
        try:
            remote = self._ask(run_id, None)
        except DaemonError as error:
            return self._resume_unknown(run_id, mode, error)
        if remote is not None:
            return self._resume_remote(remote, mode)
        if mode == "must":
            raise UsageError(
                f"resume='must': there is no run {run_id!r} in project {settings.project!r}; "
                "check the id and the project, or use resume='allow' to start it."
            )
        return self._create(run_id)

    def _never(self, run_id: str, known: BranchRecord | None) -> Origin:
        exists, warning = known is not None, ""
        if not exists:
            try:
                exists = self._ask(run_id, None) is not None
            except DaemonError as error:
                warning = f"whether run {run_id!r} exists on the server is not known ({error})"
        if exists:
            raise RunIdInUseError(
                f"resume='never': run {run_id!r} exists in project {self._settings.project!r}; "
                "choose another id, or resume='allow' to go on with it."
            )
        return Origin(
            opening=Opening(kind="created"),
            branch=self._new_branch(run_id, parent=None),
            is_new_branch=True,
            warning=warning,
        )

    def _resume_here(self, known: BranchRecord, mode: str) -> Origin:
        """A run of this host. Of a shared one others may have written more."""
        remote = None
        if self._may_have_more(known):
            with contextlib.suppress(DaemonError):
                remote = self._ask(known.run_id, None)
        if remote is not None and remote.branch_id != known.branch_id:
            return self._resume_remote(remote, mode)
        origin = self._resume_known(known, mode)
        if remote is not None and remote.state.last_step > origin.steps.highest:
            found = self._resume_remote(remote, mode)
            origin = replace(found, branch=replace(known, elsewhere=remote.state))
        others = [] if self._settings.shared else live_writers(known, self._local, remote)
        if not others:
            return origin
        return replace(
            origin,
            warning=(
                f"run {known.run_id!r} is being written by others at this time "
                f"({', '.join(others)}); this session now holds its state: pass mode='shared' "
                "to be one of them"
            ),
        )

    def _may_have_more(self, known: BranchRecord) -> bool:
        """Whether other hosts may have written on a branch, and the upstream can be asked."""
        return self._describe is not None and is_shared(known)

    def _resume_known(self, known: BranchRecord, mode: str) -> Origin:
        last_step = self._history.last_step(known)
        writer = writer_now(self._local, known)
        return Origin(
            opening=Opening(kind="resumed", last_step=last_step, resume_mode=mode),
            warning=f"{writer} is writing run {known.run_id!r} too, and both may log the same "
            "steps; to write one run together, pass mode='shared'"
            if writer
            else "",
            branch=known,
            is_new_branch=False,
            steps=StepCount(highest=last_step, is_relative=known.is_relative),
            runtime=self._history.runtime(known),
            inherited=lambda: self._history.state(known, step=None, at=float("inf")),
            definitions=self._local.definitions(known, STEP_MAX),
            facts=RunFacts(name=known.name),
        )

    def _resume_remote(self, remote: RemoteRun, mode: str) -> Origin:
        last_step = remote.state.last_step
        return Origin(
            opening=Opening(kind="resumed", last_step=last_step, resume_mode=mode),
            branch=self.record_of(remote),
            is_new_branch=True,
            steps=StepCount(highest=last_step),
            runtime=remote.state.runtime,
            inherited=lambda: _state_of(remote),
            definitions=_table(remote.definitions),
            facts=RunFacts(name=remote.name or None),
        )

    def _resume_unknown(self, run_id: str, mode: str, error: DaemonError) -> Origin:
        branch = self._new_branch(run_id, parent=None, is_relative=True)
        return Origin(
            opening=Opening(kind="resumed", point_unknown=True, resume_mode=mode),
            branch=branch,
            is_new_branch=True,
            steps=StepCount(is_relative=True),
            warning=(
                f"where run {run_id!r} stands is not known here ({error}); automatic steps count "
                "from 0 and the server adds where it ends"
            ),
        )

    # -- parts -----------------------------------------------------------------------------------

    def record_of(self, remote: RemoteRun) -> BranchRecord:
        """A branch that lies elsewhere, as this host will know it."""
        return BranchRecord(
            branch_id=remote.branch_id,
            entity=self._entity,
            project=self._settings.project,
            run_id=remote.run_id,
            name=remote.name,
            created_at=time.time(),
            elsewhere=remote.state,
            definitions=remote.definitions,
        )

    def _ask(self, reference: str, step: int | None) -> RemoteRun | None:
        if self._describe is None:
            raise DaemonError("offline")
        return self._describe(reference, step)

    def _named(self, run_id: str) -> BranchRecord | None:
        return self._local.named(self._entity, self._settings.project, run_id)

    def _point(self, run_id: str, branch_id: str, step: int) -> PointRef:
        return PointRef(
            entity=self._entity,
            project=self._settings.project,
            run_id=run_id,
            branch_id=branch_id,
            step=step,
        )

    def _new_branch(
        self, run_id: str, *, parent: PointRef | None, is_relative: bool = False
    ) -> BranchRecord:
        return BranchRecord(
            branch_id=new_branch_id(),
            entity=self._entity,
            project=self._settings.project,
            run_id=run_id,
            name="",
            created_at=time.time(),
            parent=parent,
            is_relative=is_relative,
        )


def _lies_elsewhere(known: BranchRecord, step: int) -> bool:
    """Whether the history at a step is on another host, so that the upstream knows it better."""
    return known.elsewhere is not None and step < known.elsewhere.last_step


def _table(definitions: tuple[MetricDefinition, ...]) -> DefinitionTable:
    return DefinitionTable.of_all({d.name: d for d in definitions})


def _state_of(remote: RemoteRun) -> BranchState:
    summary = SummaryState(definitions=_table(remote.definitions))
    values = remote.state.summary
    summary.add_row(tuple(values), tuple(values.values()), max(remote.state.last_step, 0))
    return BranchState(
        last_step=remote.state.last_step,
        runtime=remote.state.runtime,
        config=dict(remote.state.config),
        summary=summary,
    )
