"""A run as the user holds it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kelt import records
from kelt.branching import check_within, checked_point_step
from kelt.console import Closing, Console
from kelt.errors import BranchPointError, UsageError
from kelt.exit_hooks import Ending, ending_of
from kelt.late_sink import LateSink
from kelt.lifecycle import Lifecycle
from kelt.local_history import BranchState
from kelt.local_runs import BranchRecord, LocalRuns, SessionRef
from kelt.metric_definitions import MetricDefinition, checked_definition
from kelt.names import new_branch_id
from kelt.origins import Origin
from kelt.records import Opening, PointRef, RunFacts
from kelt.row_packing import RowPacker
from kelt.row_plans import RowEvents, StepCount
from kelt.run_config import RunConfig, keys_like_paths
from kelt.run_facts import FactsOfRun
from kelt.run_identity import RunIdentity
from kelt.run_summary import RunSummary
from kelt.sender import SendingEnd
from kelt.session import NoSink, RecordSink, Session, open_session, send_rest
from kelt.settings import Settings
from kelt.shared_mode import require_alone
from kelt.summary_keeper import SummaryKeeper
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import Value

if TYPE_CHECKING:
    from typing_extensions import Self


_CHILD_IS_OLDER_S = 0.001


class Run(RunIdentity, FactsOfRun):
    """An open run: log to it, describe it, branch from it, finish it.

    Made by `kelt.init`; the constructor is not part of the public interface.

    Attributes:
        config: what the run was given.
        summary: one value a metric.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        console: Console,
        origin: Origin,
        facts: RunFacts,
        session: Session | None,
        lifecycle: Lifecycle,
        config: dict[str, Any],
        started_at: float,
    ) -> None:
        self._settings = settings
        self._console = console
        self._origin = origin
        self._facts = facts
        self._session = session
        self._lifecycle = lifecycle
        self._branch = origin.branch
        self._shared = origin.opening.shared
        self._is_disabled = session is None
        self._is_finished = False
        self._finish_lock = threading.RLock()  # a signal handler may finish too
        self._started_at = started_at
        self._started = time.monotonic() - origin.runtime
        self._sink: RecordSink = NoSink() if session is None else session.spool
        self._keeper = SummaryKeeper(inherited=origin.inherited, definitions=origin.definitions)
        self._pack_into(self._sink, origin.steps)
        self.config = RunConfig(
            inherited=lambda: dict(origin.inherited().config),
            given=config,
            on_change=self._config_changed,
        )
        self._warn_of_twins(config)
        self.summary = RunSummary(
            state=self._keeper.state,
            row_facts=lambda: self._rows.row_facts(),  # noqa: PLW0108 # a child packs anew
            on_set=self._summary_set,
        )

    def _pack_into(self, sink: RecordSink, steps: StepCount) -> None:
        self._sink = sink
        events = RowEvents(on_row=self._keeper.add_row, before_step_goes_down=self._step_goes_down)
        self._rows = RowPacker(sink=sink, steps=steps, started=self._started, events=events)
        self._keeper.follow(self._rows.unmerged_rows)
        if self._keeper.needs_every_row:
            self._rows.want_every_row()

    # -- logging ---------------------------------------------------------------------------------

    def log(
        self, data: dict[str, Any], step: int | None = None, commit: bool | None = True
    ) -> None:
        """Writes one row, or a part of one.

        Args:
            data: values by name; nested dicts are flattened with dots.
            step: the row's step; one above the highest if None. Two calls with the same step make
                one row; a step that goes down is kept and flagged.
            commit: False keeps the automatic step open for the next call.

        Raises:
            UsageError: a key, value or step that cannot be logged.
            SpoolFullError: there is no room for the row, and `spool_policy` is "raise".
        """
        self._rows.log(data, step, commit)

    def define_metric(  # noqa: PLR0917 # wandb's order
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
    ) -> MetricDefinition:
        """Says how a metric, or all that a glob matches, is summarised and drawn.

        Args:
            name: the metric, or a glob such as "val/*".
            step_metric: the metric that is its x axis.
            step_sync: accepted from scripts written for wandb; axes are joined when read.
            hidden: do not draw it by default.
            summary: last (the default), min, max, mean, first, best or none.
            goal: minimize (the default) or maximize, for best.

        Raises:
            UsageError: an argument that cannot be.
        """
        del step_sync
        self._require_open("define_metric")
        definition = checked_definition(
            name=name,
            step_metric=step_metric,
            summary=summary,
            goal=goal,
            hidden=hidden,
            step=self._rows.highest_step,
        )
        self._keeper.take_in()
        self._keeper.define(definition)
        self._sink.append_control(Kind.METRIC_DEFINITION, records.metric_definition(definition))
        if self._keeper.needs_every_row:
            self._rows.want_every_row()
        self._noted(lambda local: local.add_definition(self.immutable_id, definition))
        return definition

    def _config_changed(self, values: dict[str, Any], removed: list[str]) -> None:
        self._require_open("config")
        self._warn_of_twins(self.config.own())
        self._sink.append_control(Kind.CONFIG, records.config(values, removed, time.time()))

    def _warn_of_twins(self, config: dict[str, Any]) -> None:
        for key in keys_like_paths(config):
            self._console.warn_once(
                f"config {key}",
                f"the config has a key {key!r} and, nested, another at the same path: both are "
                f"kept, and whoever asks for config.{key} gets the one whose name has the dot",
            )

    def _summary_set(self, values: dict[str, Value], removed: list[str]) -> None:
        self._require_open("summary")
        payload = records.summary(values, removed, self._rows.highest_step)
        self._keeper.set_by_hand(values, removed)
        self._sink.append_control(Kind.SUMMARY, payload)

    def _facts_changed(self, change: RunFacts) -> None:
        self._require_open("run")
        self._sink.append_control(Kind.RUN_INFO, records.run_info(change))

    def _step_goes_down(self, step: int, highest: int) -> None:
        self._keeper.take_in()
        self._console.warn_once(
            "step",
            f"step {step} comes after step {highest}; the row is kept and marked "
            "(steps should go up within a run; run.rewind() starts again from a step)",
        )

    # -- who it is -------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """The step of the next automatic row.

        After a resume from a point that this host does not know it counts from that point.
        """
        return self._rows.next_step

    # -- branching -------------------------------------------------------------------------------

    def rewind(self, step: int) -> None:
        """Goes back to a step in mid-training: what came after it is archived.

        The run keeps its id and its config. The next automatic step is `step + 1`, and the summary
        is that of the history that stays.

        A shared run is rewound by its primary alone, once no other writer is live; where the run
        is online, the server is asked for that, at most `init_timeout_s`.

        Raises:
            BranchPointError: the run has no such step, or others write it.
        """
        self._require_open("rewind")
        self._check_point(step, "run.rewind")
        if self._shared is not None:
            require_alone(f"run.rewind({step})", self._shared, self._lifecycle.other_writers(self))
        old, now = self._branch, time.time()
        point, highest = self._point_of(step), self._rows.highest_step
        self._branch = replace(
            old,
            branch_id=new_branch_id(),
            parent=point,
            created_at=now,
            sessions=(),
            elsewhere=None,
            definitions=(),
        )
        self._sink.append_control(Kind.REWIND, records.rewind(self.immutable_id, point, now))
        self._sink.reset_step_max(step)
        kept = self._keeper.definitions().up_to(step)
        self._rows.go_on_from(StepCount(highest=step))
        self._keeper.take_in()  # rows of the branch that is left must not reach the new summary
        self._keeper.go_on_from(lambda: self._state_at(old, step, now), kept)
        if self._session is not None:
            ended = self._session_ref(self._session, highest)
            going_on = SessionRef(folder=ended.folder)
            self._noted(lambda local: local.set_session(old.branch_id, ended))
            self._noted(lambda local: local.add_branch(self._branch))
            self._noted(lambda local: local.set_session(self.immutable_id, going_on))

    def _state_at(self, branch: BranchRecord, step: int, at: float) -> BranchState:
        """What is left of a branch up to a step, from the files of this host."""
        local, history = self._lifecycle.local, self._lifecycle.history
        if self._is_disabled or local is None or history is None:
            return BranchState()
        return history.state(local.branch(branch.branch_id) or branch, step=step, at=at)

    def fork(self, step: int, **init: Any) -> Run:
        """Opens a second run that leaves this one at a step; it becomes `kelt.run`.

        This run stays open. The new one inherits config, summary and history up to the step.

        Args:
            step: the last step that both have.
            init: what `kelt.init` takes, such as config or name; the project is this run's.

        Raises:
            BranchPointError: the run has no such step.
        """
        self._require_open("fork")
        self._check_point(step, "run.fork")
        return self._lifecycle.fork(self, step, init)

    def _check_point(self, step: int, what: str) -> None:
        step = checked_point_step(step, f"{what}({step!r})")
        if self._rows.is_relative:
            raise BranchPointError(
                f"{what}({step}): this run went on from a step that is not known here; "
                "log one row with step=… first."
            )
        check_within(step, self._rows.highest_step, f"{what}({step})")

    def _point_of(self, step: int) -> PointRef:
        return PointRef(
            entity=self._branch.entity,
            project=self.project,
            run_id=self.id,
            branch_id=self.immutable_id,
            step=step,
        )

    # -- the end ---------------------------------------------------------------------------------

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Ends the run; waits a bounded time until the server has everything.

        Args:
            exit_code: 0 (the default) for a run that succeeded.
            quiet: say nothing at the end.

        Raises:
            UsageError: the exit code is no whole number; the run goes on.
        """
        code = _checked_exit_code(exit_code)
        self._finish(
            Ending(exit_code=code, reason=f"exit code {code}" if code else ""),
            None,
            quiet=bool(quiet),
        )

    def end(self, ending: Ending, *, timeout_s: float | None) -> None:
        """Ends the run as its process ends."""
        self._finish(ending, timeout_s)

    def settle(self, *, timeout_s: float) -> None:
        """Waits until the background thread has found the daemon, or not."""
        if self._session is not None:
            self._session.sender.wait_until_tried(timeout_s)

    def register(self, *, is_new_branch: bool) -> None:
        """Notes branch and session for later forks, rewinds and resumes on this host."""
        if self._session is None:
            return
        ref = SessionRef(folder=self._session.folder.name)
        if is_new_branch:
            self._noted(lambda local: local.add_branch(self._branch))
        self._noted(lambda local: local.set_session(self.immutable_id, ref))
        if self._settings.resume == "auto":
            self._noted(
                lambda local: local.remember_unfinished(
                    self._branch.entity, self.project, self._lifecycle.place, self.id
                )
            )

    def _finish(self, ending: Ending, timeout_s: float | None, *, quiet: bool = False) -> None:
        with self._finish_lock:
            if self._is_finished:
                return
            self._is_finished = True
        highest = self._rows.highest_step
        self._rows.close(
            f"kelt.log: run {self.id!r} is finished; call kelt.init() to start another."
        )
        try:
            if self._session is not None:
                end = send_rest(
                    self._session,
                    ending,
                    timeout_s=self._settings.finish_timeout_s if timeout_s is None else timeout_s,
                    console=self._console,
                )
                if not (quiet or self._console.silent):
                    self._say_goodbye(self._session, ending, end)
                self._note_end(self._session, highest, ending)
        finally:
            self._lifecycle.finished(self)

    def _say_goodbye(self, session: Session, ending: Ending, end: SendingEnd) -> None:
        sample = session.sample
        closing = Closing(
            state="failed" if ending.exit_code else "finished",
            rows=self._rows.rows,
            lost_rows=session.spool.dropped_rows,
            records=end.records,
            waiting=end.waiting,
            is_synced=end.is_synced,
            offline=self._settings.mode == "offline",
            why=end.why,
            has_daemon=end.has_daemon,
            courses=sample.values() if sample is not None else {},
            summary=self._keeper.state().values(),
        )
        self._console.finished(self.label, closing)

    def _note_end(self, session: Session, highest: int, ending: Ending) -> None:
        ref = self._session_ref(session, highest)
        self._noted(lambda local: local.set_session(self.immutable_id, ref))
        if not ending.exit_code:
            self._noted(
                lambda local: local.forget_unfinished(
                    self._branch.entity, self.project, self._lifecycle.place, self.id
                )
            )

    def _session_ref(self, session: Session, highest: int) -> SessionRef:
        runtime = time.monotonic() - self._started
        return SessionRef(folder=session.folder.name, last_step=highest, runtime=runtime)

    def after_fork(self) -> None:
        """Lets go of the parent's files in a forked child; the first record opens new ones.

        The child's session is an older one of the run than its parent's, because a run's state is
        that of its newest session and a child's end is not the run's.
        """
        self._finish_lock = threading.RLock()
        self._console.after_fork()
        self._keeper.after_fork()
        self._keeper.take_in()
        self.config.after_fork()
        if self._session is None or self._is_finished:
            return
        # Kept, so that nothing of gRPC in it is ever torn down in this process.
        self._parents_session = self._session
        if self._shared is not None:
            self._shared = self._shared.forked(os.getpid())
        self._session.abandon()
        self._session = None
        steps = StepCount(highest=self._rows.highest_step, is_relative=self._rows.is_relative)
        sink = LateSink(open_sink=self._open_in_child, on_failure=self._child_not_recorded)
        self._pack_into(sink, steps)

    def _child_not_recorded(self, error: Exception) -> None:
        self._console.warn_of_loss_once(
            "child",
            f"what forked process {os.getpid()} logs cannot be recorded now ({error}) and is "
            "counted as lost; the training goes on, and it is tried again",
        )

    def _open_in_child(self) -> RecordSink:
        highest = self._rows.highest_step
        opening = Opening(
            kind="resumed", last_step=highest, resume_mode="allow", shared=self._shared
        )
        session = open_session(
            settings=self._settings,
            branch=self._branch,
            opening=opening,
            facts=RunFacts(),
            config={},
            highest_step=highest,
            console=self._console,
            started_at=self._started_at - _CHILD_IS_OLDER_S,
            sends=False,
        )
        session.sender.start()
        self._session = session
        self._noted(
            lambda local: local.set_session(
                self.immutable_id, SessionRef(folder=session.folder.name)
            )
        )
        return session.spool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._finish(ending_of(error), None)

    def __repr__(self) -> str:
        return f"<kelt.Run {self.id} of project {self.project}>"

    def _require_open(self, what: str) -> None:
        if self._is_finished:
            raise UsageError(
                f"kelt.{what}: run {self.id!r} is finished; call kelt.init() to start another."
            )

    def _noted(self, write: Callable[[LocalRuns], None]) -> None:
        """Writes to the registry; where that fails the run goes on."""
        local = self._lifecycle.local
        if self._is_disabled or local is None:
            return
        try:
            write(local)
        except OSError as error:
            self._console.warn_once(
                "registry",
                f"what this host knows of runs cannot be written ({error}); offline forks, "
                "rewinds and resumes of this run may not find it",
            )


def _checked_exit_code(exit_code: object) -> int:
    """An exit code as a process could have it.

    Raises:
        UsageError: it is none.
    """
    if exit_code is None:
        return 0
    if not isinstance(exit_code, int) or not -(2**31) <= exit_code < 2**31:
        raise UsageError(
            f"kelt.finish: the exit code {exit_code!r} is not a whole number; "
            "0 stands for a run that succeeded."
        )
    return int(exit_code)
