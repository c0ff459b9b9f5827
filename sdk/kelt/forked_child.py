"""A run in a forked child: a session of its own, opened with the child's first record.

It is an older session of the run than its parent's, because a run's state is that of its newest
session and a child's end is not the run's. It uses no gRPC: the daemon finds its spool.
"""

from __future__ import annotations

import os

from kelt.console import Console
from kelt.local_runs import BranchRecord
from kelt.records import Opening, RunFacts
from kelt.session import Session, open_session
from kelt.settings import Settings
from kelt.shared_mode import SharedWriter

_CHILD_IS_OLDER_S = 0.001


def open_in_child(
    *,
    settings: Settings,
    branch: BranchRecord,
    shared: SharedWriter | None,
    highest_step: int,
    console: Console,
    parent_started_at: float,
) -> Session:
    """Opens the child's session and starts its thread.

    Raises:
        StorageError: the folder or the spool cannot be made.
    """
    session = open_session(
        settings=settings,
        branch=branch,
        opening=Opening(kind="resumed", last_step=highest_step, resume_mode="allow", shared=shared),
        facts=RunFacts(),
        config={},
        highest_step=highest_step,
        console=console,
        started_at=parent_started_at - _CHILD_IS_OLDER_S,
        sends=False,
        measures=False,
    )
    session.output.begin()
    session.sender.start()
    return session


def warn_not_recorded(console: Console, error: Exception) -> None:
    """Says that the child's session cannot be opened."""
    console.warn_of_loss_once(
        "child",
        f"what forked process {os.getpid()} logs cannot be recorded now ({error}) and is "
        "counted as lost; the training goes on, and it is tried again",
    )
