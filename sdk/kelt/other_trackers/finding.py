"""Which runs of other trackers lie at a path, by what is in the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kelt.other_trackers.foreign_run import ForeignRunError, Source, Target
from kelt.other_trackers.mlflow import file_store
from kelt.other_trackers.mlflow.mlflow_run import MlflowSource
from kelt.other_trackers.mlflow.sql_store import SqlStore, is_sql_store
from kelt.other_trackers.neptune.parquet_export import (
    exported_runs,
    is_export,
    is_named_as_export,
    is_part_of_same,
)
from kelt.other_trackers.tensorboard.event_files import event_files, is_event_file
from kelt.run_folder import MANIFEST_NAME
from kelt.wandb_files.finding import is_wandb_file

_DEPTH_MAX = 8
_DATABASES = frozenset((".db", ".sqlite", ".sqlite3"))


def is_foreign_file(path: Path) -> bool:
    """Whether a file, named on its own, is another tracker's.

    Raises:
        OSError: it cannot be read.
        ForeignRunError: what reads such files is not installed.
    """
    return path.is_file() and (
        is_event_file(path) or (is_named_as_export(path) and is_export(path)) or is_sql_store(path)
    )


def find_sources(path: Path, target: Target) -> list[Source | ForeignRunError]:
    """The runs at a path, and what kept a store from being read.

    Args:
        path: a file, a store's folder, or a folder with such in it; links are not followed.
        target: where they go.
    """
    return list(_walk(path.resolve(), path.resolve(), target, _DEPTH_MAX))


def _walk(path: Path, root: Path, target: Target, depth: int) -> Iterator[Source | ForeignRunError]:
    try:
        if is_wandb_file(path):
            return
        if path.is_file():
            yield from _in_file(path, target)
        elif file_store.is_run(path):
            yield from _file_runs([path], target)
        elif file_store.is_experiment(path):
            yield from _file_runs(file_store.runs_of(path), target)
        elif path.is_dir() and depth:
            yield from _in_folder(path, root, target, depth)
    except ForeignRunError as error:
        yield error
    except OSError as error:
        yield _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> ForeignRunError:
    return ForeignRunError(f"{path} cannot be read ({error.strerror or error}); mend that.")


def _in_folder(
    path: Path, root: Path, target: Target, depth: int
) -> Iterator[Source | ForeignRunError]:
    children = [child for child in sorted(path.iterdir()) if not child.is_symlink()]
    # A run of kelt's or W&B's may hold such files; they are parts of it.
    if (path / MANIFEST_NAME).exists() or any(map(is_wandb_file, children)):
        return
    yield from _in_files([child for child in children if child.is_file()], path, root, target)
    for child in children:
        if child.is_dir():
            yield from _walk(child, root, target, depth - 1)


def _in_file(path: Path, target: Target) -> Iterator[Source | ForeignRunError]:
    """What lies in a file that was named. What its run is follows from all files of the run."""
    folder = path.parent
    if is_event_file(path):
        events = event_files(list(filter(is_event_file, folder.iterdir())), folder.name, target)
        yield from (source for source in events if source.path == path)
    elif is_named_as_export(path):
        parts = [other for other in sorted(folder.iterdir()) if is_part_of_same(path, other)]
        yield from exported_runs(folder, parts, target)
    else:
        yield from _database_runs(path, target)


def _in_files(
    files: Sequence[Path], folder: Path, root: Path, target: Target
) -> Iterator[Source | ForeignRunError]:
    """What lies in the files of one folder."""
    events = [path for path in files if is_event_file(path)]
    if events:
        place = folder.name if folder == root else folder.relative_to(root).as_posix()
        yield from event_files(events, place, target)
    tables = [path for path in files if is_named_as_export(path)]
    if tables:
        yield from exported_runs(folder, tables, target)
    for path in files:
        if path.suffix in _DATABASES:
            yield from _database_runs(path, target)


def _database_runs(path: Path, target: Target) -> Iterator[Source | ForeignRunError]:
    try:
        if not is_sql_store(path):
            return
        store = SqlStore(path)
        for run_id in store.run_ids():
            yield MlflowSource(path=path, store=store, run_id=run_id, target=target)
    except OSError as error:
        yield _unreadable(path, error)
    except ForeignRunError as error:
        yield error


def _file_runs(folders: Iterable[Path], target: Target) -> Iterator[Source | ForeignRunError]:
    for folder in folders:
        store = file_store.FileStore(folder)
        try:
            if not store.is_deleted:
                yield MlflowSource(path=folder, store=store, run_id=folder.name, target=target)
        except ForeignRunError as error:
            yield error
