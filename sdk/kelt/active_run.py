"""A run as the user holds it."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kelt.artifacts.of_run import ArtifactsOfRun
from kelt.console import Console
from kelt.errors import UsageError
from kelt.exit_hooks import Ending, ending_of
from kelt.forked_child import open_in_child, warn_not_recorded
from kelt.late_sink import LateSink
from kelt.lifecycle import Lifecycle
from kelt.local_runs import SessionRef
from kelt.metric_definitions import MetricDefinition, checked_definition
from kelt.origins.origin import Origin
from kelt.recording import Recording
from kelt.records import RunFacts
from kelt.run_branching import BranchingRun
from kelt.run_config import RunConfig, warn_of_twins
from kelt.run_ending import closing_of, ending_by_code
from kelt.run_facts import FactsOfRun
from kelt.run_notes import RunNotes
from kelt.run_summary import RunSummary
from kelt.session import NoSink, RecordSink, Session, send_rest
from kelt.settings import Settings
from kelt_proto.v1.rows import Value

if TYPE_CHECKING:
    from typing_extensions import Self


class Run(BranchingRun, FactsOfRun, ArtifactsOfRun):
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
        self._notes = RunNotes(
            local=None if session is None else lifecycle.local,
            place=lifecycle.place,
            console=console,
        )
        self._recording = Recording(
            sink=NoSink() if session is None else session.spool,
            steps=origin.steps,
            started=time.monotonic() - origin.runtime,
            inherited=origin.inherited,
            definitions=origin.definitions,
            console=console,
        )
        self.config = RunConfig(
            inherited=lambda: dict(origin.inherited().config),
            given=config,
            on_change=self._config_changed,
        )
        warn_of_twins(config, console)
        self.summary = RunSummary(
            state=self._recording.summary,
            row_facts=self._recording.row_facts,
            on_set=self._summary_set,
        )

    def begin(self) -> None:
        """Notes the session on this host, begins to send, and says what was opened."""
        if (session := self._session) is not None:
            if self._origin.is_new_branch:
                self._notes.branch(self._branch)
            self._notes.session(self._branch, SessionRef(folder=session.folder.name))
            if self._settings.resume == "auto":
                self._notes.unfinished(self._branch)
            session.sender.start()
            is_offline = self._settings.mode == "offline"
            self._console.started(self.label, how=self._origin.how, offline=is_offline)
            session.output.begin()
        if self._origin.warning:
            self._console.warn(self._origin.warning)

    # -- logging ---------------------------------------------------------------------------------

    def log(
        self, data: dict[str, Any], step: int | None = None, commit: bool | None = True
    ) -> None:
        """Writes one row, or a part of one.

        Args:
            data: values by name; nested dicts are flattened with dots, but for those with a key
                `_type`, which describe something and stay one value.
            step: the row's step; one above the highest if None. Two calls with the same step make
                one row; a step that goes down is kept and flagged.
            commit: False keeps the automatic step open for the next call.

        Raises:
            UsageError: a key, value or step that cannot be logged.
            SpoolFullError: there is no room for the row, and `spool_policy` is "raise".
        """
        self._recording.rows.log(data, step, commit)

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
            summary: last (the default), min, max, mean, first, best or none; or several of them
                ("min,max"), which are then beside the last value, as `loss.min` and `loss.max`.
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
            step=self._recording.rows.highest_step,
        )
        self._recording.define(definition)
        self._notes.definition(self._branch, definition)
        return definition

    @property
    def step(self) -> int:
        """The step of the next automatic row.

        After a resume from a point that this host does not know it counts from that point.
        """
        return self._recording.rows.next_step

    def _config_changed(self, values: dict[str, Any], removed: list[str]) -> None:
        self._require_open("config")
        warn_of_twins(self.config.own(), self._console)
        self._recording.set_config(values, removed)

    def _summary_set(self, values: dict[str, Value], removed: list[str]) -> None:
        self._require_open("summary")
        self._recording.set_summary(values, removed)

    def _facts_changed(self, change: RunFacts) -> None:
        self._require_open("run")
        self._recording.set_facts(change)

    # -- the end ---------------------------------------------------------------------------------

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Ends the run; waits a bounded time until the server has everything.

        Args:
            exit_code: 0 (the default) for a run that succeeded.
            quiet: say nothing at the end.

        Raises:
            UsageError: the exit code is no whole number; the run goes on.
        """
        self._finish(ending_by_code(exit_code), None, quiet=bool(quiet))

    def end(self, ending: Ending, *, timeout_s: float | None) -> None:
        """Ends the run as its process ends."""
        self._finish(ending, timeout_s)

    def settle(self, *, timeout_s: float) -> None:
        """Waits until the background thread has found the daemon, or not."""
        if self._session is not None:
            self._session.sender.wait_until_tried(timeout_s)

    def _finish(self, ending: Ending, timeout_s: float | None, *, quiet: bool = False) -> None:
        with self._finish_lock:
            if self._is_finished:
                return
            self._is_finished = True
        self._recording.rows.close(self._is_over("log"))
        try:
            if self._session is not None:
                self._send_rest(self._session, ending, timeout_s, quiet=quiet)
        finally:
            self._lifecycle.finished(self)

    def _send_rest(
        self, session: Session, ending: Ending, timeout_s: float | None, *, quiet: bool
    ) -> None:
        end = send_rest(
            session,
            ending,
            timeout_s=self._settings.finish_timeout_s if timeout_s is None else timeout_s,
            console=self._console,
        )
        if not (quiet or self._console.silent):
            is_offline = self._settings.mode == "offline"
            closing = closing_of(session, self._recording, ending, end, offline=is_offline)
            self._console.finished(self.label, closing)
        last_step = self._recording.rows.highest_step
        self._notes.session(self._branch, self._session_ref(session, last_step))
        if not ending.exit_code:
            self._notes.finished(self._branch)

    def _require_open(self, what: str) -> None:
        if self._is_finished:
            raise UsageError(self._is_over(what))

    def _is_over(self, what: str) -> str:
        return f"kelt.{what}: run {self.id!r} is finished; call kelt.init() to start another."

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and self._session is not None:
            self._session.output.add_traceback(error)
        self._finish(ending_of(error), None)

    def __repr__(self) -> str:
        return f"<kelt.Run {self.id} of project {self.project}>"

    # -- forked children -------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Lets go of the parent's files in a forked child; the first record opens new ones."""
        self._finish_lock = threading.RLock()
        self._console.after_fork()
        self._recording.after_fork()
        self.config.after_fork()
        if self._session is None or self._is_finished:
            return
        # Kept, so that nothing of gRPC in it is ever torn down in this process.
        self._parents_session = self._session
        if self._shared is not None:
            self._shared = self._shared.forked(os.getpid())
        self._session.abandon()
        self._session = None
        on_failure = partial(warn_not_recorded, self._console)
        self._recording.go_on_into(LateSink(open_sink=self._open_in_child, on_failure=on_failure))

    def _open_in_child(self) -> RecordSink:
        self._session = open_in_child(
            settings=self._settings,
            branch=self._branch,
            shared=self._shared,
            highest_step=self._recording.rows.highest_step,
            console=self._console,
            parent_started_at=self._started_at,
        )
        self._notes.session(self._branch, SessionRef(folder=self._session.folder.name))
        return self._session.spool
