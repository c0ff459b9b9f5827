"""How many rows there were among the records that a sync has sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kelt.errors import KeltError
from kelt.syncing.outcome import SyncedRun
from kelt.syncing.survey import RunOnDisk, count


class RowCounts:
    """How many rows there are among what was sent, as the files tell.

    Counted where it was not known before it was sent, and once a run is through or given up.
    """

    def __init__(self, runs: Iterable[RunOnDisk]) -> None:
        self._surveyed = {run.path: run for run in runs}
        self._counted: dict[tuple[Path, int, int], int] = {}

    def __call__(self, run: SyncedRun, *, is_last: bool = False) -> SyncedRun:
        """The run with its rows, under the path by which it was named."""
        known = self._surveyed.get(run.path)
        if known is None:
            return run
        if known.original is not None and 0 < known.committed < run.skipped:
            # The daemon has noticed that the file had grown before it was asked to send it.
            run = replace(
                run, skipped=known.committed, sent=max(0, run.committed - known.committed)
            )
        counted = self._with_rows(run, known, is_last=is_last)
        return replace(counted, path=known.original or run.path, note=known.note)

    def _with_rows(self, run: SyncedRun, known: RunOnDisk, *, is_last: bool) -> SyncedRun:
        if not run.sent:
            return run
        through = known.committed + known.waiting.records
        if (known.committed, through) == (run.skipped, run.committed):
            return replace(run, rows=known.waiting.rows)
        is_through = is_last or run.is_synced or run.error
        return replace(run, rows=self._count(run)) if is_through else run

    def _count(self, run: SyncedRun) -> int:
        key = (run.path, run.skipped, run.committed)
        if key not in self._counted:
            try:
                found = count(run.path, after_seq=run.skipped, through_seq=run.committed)
            except (KeltError, OSError, ValueError):
                return 0
            self._counted[key] = found.rows
        return self._counted[key]
