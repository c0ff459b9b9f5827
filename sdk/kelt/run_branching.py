"""Going back and branching off in mid-training: `run.rewind` and `run.fork`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kelt.branching import checked_open_point
from kelt.local_history import BranchState
from kelt.local_runs import BranchRecord, SessionRef
from kelt.names import new_branch_id
from kelt.run_identity import RunIdentity
from kelt.shared_mode import require_alone

if TYPE_CHECKING:
    from kelt.active_run import Run
    from kelt.lifecycle import Lifecycle
    from kelt.recording import Recording
    from kelt.run_notes import RunNotes
    from kelt.session import Session


class BranchingRun(RunIdentity):
    """The methods of a run that begin a branch."""

    _lifecycle: Lifecycle
    _notes: RunNotes
    _recording: Recording
    _require_open: Callable[[str], None]

    def rewind(self, step: int) -> None:
        """Goes back to a step in mid-training: what came after it is archived.

        The run keeps its id and its config. The next automatic step is `step + 1`, and the summary
        is that of the history that stays.

        A shared run is rewound by its primary alone, once no other writer is live; where the run
        is online, the server is asked for that, at most `init_timeout_s`.

        Raises:
            BranchPointError: the run has no such step, or others write it.
        """
        step = self._checked_point(step, "rewind")
        if self._shared is not None:
            require_alone(f"run.rewind({step})", self._shared, self._lifecycle.other_writers(self))
        old, now = self._branch, time.time()
        highest = self._recording.rows.highest_step
        self._branch = replace(
            old,
            branch_id=new_branch_id(),
            parent=old.point(step),
            created_at=now,
            sessions=(),
            elsewhere=None,
            definitions=(),
        )
        left = partial(self._state_at, old, step, now)
        session = self._session
        with nullcontext() if session is None else session.output.between_branches():
            self._recording.rewind(self.immutable_id, old.point(step), now, left)
        if (
            self._session is not None
        ):  # asked only now: a forked child opens it with its first record
            ended = self._session_ref(self._session, highest)
            self._notes.session(old, ended)
            self._notes.branch(self._branch)
            self._notes.session(self._branch, SessionRef(folder=ended.folder))

    def fork(self, step: int, **init: Any) -> Run:
        """Opens a second run that leaves this one at a step; it becomes `kelt.run`.

        This run stays open. The new one inherits config, summary and history up to the step.

        Args:
            step: the last step that both have.
            init: what `kelt.init` takes, such as config or name; the project is this run's.

        Raises:
            BranchPointError: the run has no such step.
        """
        return self._lifecycle.fork(self, self._checked_point(step, "fork"), init)

    def _checked_point(self, step: object, verb: str) -> int:
        self._require_open(verb)
        rows = self._recording.rows
        return checked_open_point(
            step, f"run.{verb}", last_step=rows.highest_step, is_relative=rows.is_relative
        )

    def _state_at(self, branch: BranchRecord, step: int, at: float) -> BranchState:
        """What is left of a branch up to a step, from the files of this host."""
        return BranchState() if self._is_disabled else self._lifecycle.state_at(branch, step, at)

    def _session_ref(self, session: Session, last_step: int) -> SessionRef:
        """How far a session has come."""
        runtime_s = self._recording.runtime_s
        return SessionRef(folder=session.folder.name, last_step=last_step, runtime=runtime_s)
