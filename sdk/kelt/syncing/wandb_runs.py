"""W&B's files among what is to be synced: surveyed, and brought in when it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kelt.errors import KeltError
from kelt.run_folder import RunFolderError
from kelt.settings import Settings
from kelt.state_dir import StateDir
from kelt.syncing.imported_runs import survey_imported
from kelt.syncing.survey import Counts, RunOnDisk, sent_so_far
from kelt.wandb_files.importing import bring_in, folder_of
from kelt.wandb_files.reading import read_wandb_file, read_wandb_run
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.run_facts import WandbRun
from kelt.wandb_files.translation import Control


def survey_again(run: RunOnDisk, *, state_dir: StateDir, upstream: str) -> RunOnDisk:
    """The run of a file as it is now, its run folder with it."""
    if run.wandb_file is None:
        raise AssertionError
    return survey_wandb(run.wandb_file, state_dir=state_dir, upstream=upstream, keeps=True)


def survey_wandb(
    path: Path,
    *,
    state_dir: StateDir,
    upstream: str,
    keeps: bool,
    on_begun: Callable[[Path], None] | None = None,
) -> RunOnDisk:
    """What a `.wandb` file holds and what of it waits.

    Args:
        path: the file.
        state_dir: whose daemon has sent, or will send it.
        upstream: where it is to go.
        keeps: whether the run folder is made of what is read, so that a long file is read once; it
            is not yet among the runs. Else nothing is written.
        on_begun: as for `bring_in`.
    """
    seen = rows = 0

    def count(_: WandbRun, record: Control | BuiltRow) -> None:
        nonlocal seen, rows
        seen += 1
        rows += isinstance(record, BuiltRow) and seen > committed

    try:
        target, committed = _sent(read_wandb_run(path), state_dir, upstream)
        observe = count if committed else None  # where nothing was sent, all rows count
        content = None
        if keeps:
            _, content = bring_in(
                path, state_dir=state_dir, upstream=upstream, observe=observe, on_begun=on_begun
            )
        if content is None:
            content = read_wandb_file(path, observe)
    except KeltError as error:
        return RunOnDisk(path=path, problem=str(error), wandb_file=path)
    rows = rows if committed else content.rows
    committed = min(committed, content.records)
    records = content.records - committed
    lost_rows = content.lost_rows if records else 0
    return survey_imported(
        path,
        content.run,
        upstream=target,
        committed=committed,
        waiting=Counts(records=records, rows=rows, lost_rows=lost_rows),
        state=content.state,
        size_bytes=content.size_bytes,
        wandb_file=path,
        note=content.not_carried,
    )


def _sent(run: WandbRun, state_dir: StateDir, upstream: str) -> tuple[str, int]:
    try:
        return sent_so_far(folder_of(run, state_dir), state_dir=state_dir, upstream=upstream)
    except RunFolderError:
        return upstream, 0


def brought_in(run: RunOnDisk, *, settings: Settings, upstream: str) -> RunOnDisk:
    """The run with the folder that was made of its file, or with what kept that from being made."""
    if run.wandb_file is None or run.problem:
        return run
    target = upstream or settings.upstream.rstrip("/")
    try:
        folder, _ = bring_in(run.wandb_file, state_dir=settings.state_dir, upstream=target)
    except KeltError as error:
        return replace(run, problem=str(error))
    return replace(run, path=folder.resolve())
