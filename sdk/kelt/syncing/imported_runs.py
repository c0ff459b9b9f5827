"""Other trackers' runs as a survey tells of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kelt.import_folders import ImportedRun
from kelt.syncing.survey import Counts, RunOnDisk


def survey_imported(
    path: Path, run: ImportedRun, *, upstream: str, committed: int, waiting: Counts, **more: Any
) -> RunOnDisk:
    """What another tracker's run comes to.

    Args:
        path: where it lies.
        run: its names.
        upstream: where it goes.
        committed: how far that is known to be.
        waiting: what it lacks.
        more: as for `RunOnDisk`.
    """
    return RunOnDisk(
        path=path,
        entity=run.entity,
        project=run.project,
        run_id=run.run_id,
        upstream=upstream,
        mode="offline",
        hostname=run.host,
        started_at=run.started_at,
        waiting=waiting,
        committed=committed,
        is_waiting=bool(waiting.records),
        **more,
    )
