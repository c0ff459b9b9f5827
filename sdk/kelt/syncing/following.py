"""`--live` for what other trackers are still writing: brought in and sent again until it has ended.

Each pass takes what was written since, and the next one waits in proportion to how long it took, so
that following a large file costs a bounded share of a processor. What can wait until it is followed
by the daemon itself, kelt's own run folders, is sent when all else has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.syncing.outcome import SyncedRun, SyncResult

if TYPE_CHECKING:
    from kelt.syncing.engine import SyncPlan
    from kelt.syncing.survey import RunOnDisk

_PASS_EVERY_S = 2.0
#: How many times longer than a pass took the next one is waited for.
_REST = 4.0


def goes_on(run: RunOnDisk) -> bool:
    """Whether a run of another tracker is still being written."""
    return run.original is not None and run.state == "running" and not run.problem


def follow(
    plan: SyncPlan,
    *,
    send: Callable[[SyncPlan], SyncResult],
    look: Callable[[RunOnDisk], RunOnDisk],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> SyncResult:
    """Sends in passes.

    Args:
        plan: in which a run goes on.
        send: sends a plan; what it cannot reach is tried again with the next pass.
        look: a run as it is now.
        clock: seconds, which do not go back.
        sleep: waits so many seconds; KeyboardInterrupt ends the following.
    """
    sums: dict[Path, SyncedRun] = {}
    runs = [run for run in plan.runs if run.original is not None or run.state != "running"]
    is_interrupted = False
    try:
        while runs:
            began_s = clock()
            result = send(replace(plan, runs=tuple(runs), missing=(), live=False))
            _add(sums, result)
            if result.is_interrupted:
                break
            tried_again = runs if result.is_unreachable else [run for run in runs if goes_on(run)]
            if tried_again:
                sleep(max(_PASS_EVERY_S, _REST * (clock() - began_s)))
            runs = [look(run) for run in tried_again]
        is_interrupted = bool(runs)
    except KeyboardInterrupt:
        is_interrupted = True
    if is_interrupted:
        error = "Interrupted; what was written until now was sent, or will be by the daemon."
        return SyncResult(runs=tuple(sums.values()), error=error, is_interrupted=True)
    rest = tuple(run for run in plan.runs if run.original is None and run.state == "running")
    last = send(replace(plan, runs=rest))
    _add(sums, last)
    found = tuple(sums.values())
    failed = sum(bool(run.error) for run in found)
    error = f"{failed:,} of {len(found):,} could not be sent; the lines above say why."
    return replace(last, runs=found, error=error if failed else last.error)


def _add(sums: dict[Path, SyncedRun], result: SyncResult) -> None:
    for run in result.runs:
        before = sums.get(run.path)
        if before is not None:
            run = replace(  # noqa: PLW2901 # the sum of both
                run,
                sent=before.sent + run.sent,
                rows=before.rows + run.rows,
                skipped=before.skipped,
            )
        sums[run.path] = run
