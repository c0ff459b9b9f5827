"""Which way a run was asked to begin."""

from __future__ import annotations

from kelt.origins.creating import create
from kelt.origins.known_runs import KnownRuns
from kelt.origins.leaving import fork, rewind
from kelt.origins.origin import Origin
from kelt.origins.resuming import resume


def find_origin(
    runs: KnownRuns, *, fork_from: object | None = None, resume_from: object | None = None
) -> Origin:
    """The origin that the user asked for; of the ways at most one is given.

    Raises:
        UsageError: it cannot be; the message says what would do.
    """
    if fork_from is not None:
        return fork(runs, fork_from)
    if resume_from is not None:
        return rewind(runs, resume_from)
    if runs.settings.resume is not None:
        return resume(runs, runs.settings.resume)
    return create(runs, runs.settings.run_id)
