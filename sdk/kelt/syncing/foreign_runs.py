"""Other trackers' runs among what is to be synced: surveyed, and brought in when it is sent."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from kelt.errors import KeltError
from kelt.other_trackers.finding import find_sources
from kelt.other_trackers.folders import Found, bring_in, folder_of, known_run, read_source
from kelt.other_trackers.foreign_run import ForeignRun, ForeignRunError, Source, Target
from kelt.run_folder import RunFolderError
from kelt.settings import Settings
from kelt.state_dir import StateDir
from kelt.syncing.imported_runs import survey_imported
from kelt.syncing.survey import Counts, RunOnDisk, Steps, sent_so_far
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.translation import Control
from kelt_proto.v1.frames import Kind


def survey_foreign_runs(
    path: Path,
    *,
    target: Target,
    state_dir: StateDir,
    upstream: str,
    keeps: bool,
) -> list[RunOnDisk]:
    """What waits in other trackers' stores.

    Args:
        path: a file, a store, or a folder of them.
        target: where their runs go.
        state_dir: whose daemon has sent, or will send them.
        upstream: where they are to go.
        keeps: as for `survey_wandb`.
    """
    runs = []
    for source in find_sources(path, target):
        if isinstance(source, ForeignRunError):
            runs.append(RunOnDisk(path=path, problem=str(source), foreign_path=path))
            continue
        runs.append(_survey(source, state_dir=state_dir, upstream=upstream, keeps=keeps))
    return runs


def survey_again(run: RunOnDisk, *, state_dir: StateDir, upstream: str) -> RunOnDisk:
    """The run of a source as it is now, its run folder with it."""
    if run.source is None:
        raise AssertionError
    return _survey(run.source, state_dir=state_dir, upstream=upstream, keeps=True)


def _survey(source: Source, *, state_dir: StateDir, upstream: str, keeps: bool) -> RunOnDisk:
    """What a run in a store holds and what of it waits; no folder is made unless `keeps`."""
    count = _Counting(state_dir=state_dir, upstream=upstream)
    try:
        found = None
        if keeps:
            _, found = bring_in(source, state_dir=state_dir, upstream=upstream, observe=count)
        if found is None:
            with tempfile.TemporaryDirectory(prefix="kelt-survey-") as scratch:
                found = read_source(source, known_run(source, state_dir), Path(scratch), count)
    except KeltError as error:
        return RunOnDisk(path=source.path, problem=str(error), foreign_path=source.path)
    except OSError as error:
        problem = f"{source.path} cannot be read ({error.strerror or error}); mend that."
        return RunOnDisk(path=source.path, problem=problem, foreign_path=source.path)
    return _run(source, found, count)


class _Counting:
    """Counts the rows of a source that are not upstream yet.

    Attributes:
        upstream: where they go.
        committed: how many records are there.
        rows: of the others.
    """

    def __init__(self, *, state_dir: StateDir, upstream: str) -> None:
        self.upstream = self._upstream = upstream
        self.committed = self.rows = 0
        self._state_dir = state_dir
        self._seen = 0
        self._steps = Steps()

    def __call__(self, run: ForeignRun, record: Control | BuiltRow) -> None:
        """Takes a record."""
        if isinstance(record, Control) and record.kind == Kind.RUN_OPENED:
            self._begin(run)
        self._seen += 1
        is_new = isinstance(record, BuiltRow) and self._steps.add("", record.step)
        self.rows += is_new and self._seen > self.committed

    def _begin(self, run: ForeignRun) -> None:
        """A source may be read again, as another edition of its run."""
        self._seen = self.rows = 0
        self._steps = Steps()
        try:
            self.upstream, self.committed = sent_so_far(
                folder_of(run, self._state_dir), state_dir=self._state_dir, upstream=self._upstream
            )
        except RunFolderError:
            self.upstream, self.committed = self._upstream, 0


def _run(source: Source, found: Found, count: _Counting) -> RunOnDisk:
    tally = found.tally
    committed = min(count.committed, found.records)
    records = found.records - committed
    lost_rows = tally.lost_rows if records else 0
    return survey_imported(
        source.path,
        found.run,
        upstream=count.upstream,
        committed=committed,
        waiting=Counts(records=records, rows=count.rows, lost_rows=lost_rows),
        state=tally.state,
        size_bytes=source.version()["size_bytes"],
        foreign_path=source.path,
        source=source,
        note=tally.note,
    )


def brought_in(run: RunOnDisk, *, settings: Settings, upstream: str) -> RunOnDisk:
    """The run with the folder that was made of it, or with what kept that from being made."""
    if run.source is None or run.problem:
        return run
    target = upstream or settings.upstream.rstrip("/")
    try:
        folder, _ = bring_in(run.source, state_dir=settings.state_dir, upstream=target)
    except KeltError as error:
        return replace(run, problem=str(error))
    return replace(run, path=folder.resolve())
