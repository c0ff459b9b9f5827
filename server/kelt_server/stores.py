"""Opens both stores, whatever state their files are in.

A file that is damaged is renamed `NAME.damaged-<n>` and a new one is made; what it held comes
again from the journals of the daemons, because the cursors in the new file start at zero and the
server gets a new id. What somebody must decide (another process holds the file, no permission, a
newer kelt) stops the start with a sentence and moves nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from kelt_server.catalog.sql_catalog import SqlCatalog
from kelt_server.catalog.sqlite import open_catalog
from kelt_server.config import ServerConfig
from kelt_server.errors import StartError, StoreError
from kelt_server.metrics.duckdb_reading import damage_note
from kelt_server.metrics.duckdb_store import DuckDBStore, open_store
from kelt_server.object_store import ObjectStore

_Store = TypeVar("_Store")


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that was set aside."""

    path: str
    moved_to: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stores:
    """Both stores with the objects, and what was found damaged now or at earlier starts."""

    catalog: SqlCatalog
    metrics: DuckDBStore
    objects: ObjectStore
    damaged: tuple[DamagedFile, ...]

    def close(self) -> None:
        """Lets go of the files."""
        self.metrics.close()
        self.catalog.close()


class FolderLock:
    """One server per folder: an flock held for life."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(
                f"the folder {folder} cannot be used ({error.strerror}); choose another with --dir"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise StartError(
                f"another kelt server uses {folder}; stop it, or choose another folder with --dir"
            ) from error

    def release(self) -> None:
        """Lets the next server in."""
        os.close(self._descriptor)


def open_stores(config: ServerConfig) -> Stores:
    """Opens what is there and sets aside what is damaged.

    Raises:
        StartError: somebody must decide something first.
    """
    earlier = _set_aside_before(config.folder)
    damaged: list[DamagedFile] = []
    catalog = _opened(
        lambda: open_catalog(config.catalog_path),
        config.catalog_path,
        [("", "-wal", "-shm")],
        damaged,
    )
    metrics_damaged = _noted(config.metrics_path)
    try:
        metrics = _opened(
            lambda: open_store(
                config.metrics_path, memory_bytes_max=config.metrics_memory_bytes_max
            ),
            config.metrics_path,
            [(".wal",), ("", ".wal")],
            metrics_damaged,
        )
    except StartError:
        catalog.close()
        raise
    if metrics_damaged:
        catalog.renew_identity()
    objects = ObjectStore(config.objects_path)
    return Stores(catalog, metrics, objects, (*earlier, *damaged, *metrics_damaged))


def _opened(
    attempt: Callable[[], _Store],
    path: Path,
    suffixes: Sequence[Sequence[str]],
    damaged: list[DamagedFile],
) -> _Store:
    """Opens a store; on damage sets aside the least that helps: `suffixes` in turn."""
    _check_access(path)
    for group in suffixes:
        try:
            return attempt()
        except StoreError as error:
            damaged += _set_aside(path, group, str(error))
    try:
        return attempt()
    except StoreError as error:
        raise StartError(f"{error}; choose another folder with --dir") from error


def _check_access(path: Path) -> None:
    """What is no damage, and would look like it."""
    if not path.exists():
        return
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError as error:
        raise StartError(
            f"{path} cannot be opened ({error.strerror}); correct that, or choose another --dir"
        ) from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StartError(f"another process has {path} open; close it there first") from error
    finally:
        os.close(descriptor)


def _noted(path: Path) -> list[DamagedFile]:
    """Sets aside a store in which damage was met while it was in use."""
    note = damage_note(path)
    try:
        reason = note.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = f"its note of damage cannot be read ({error.strerror})"
    moved = _set_aside(path, ("", ".wal"), reason)
    note.unlink(missing_ok=True)
    return moved


def _set_aside(path: Path, suffixes: Sequence[str], reason: str) -> list[DamagedFile]:
    moved = []
    for suffix in suffixes:
        source = path.with_name(path.name + suffix)
        if not source.exists():
            continue
        target = _free_name(source)
        source.rename(target)
        moved.append(DamagedFile(source.name, target.name, reason))
        structlog.get_logger("kelt_server.stores").error(
            "set a damaged file aside", path=str(source), moved_to=target.name, reason=reason
        )
    return moved


def _free_name(source: Path) -> Path:
    number = 1
    while (target := source.with_name(f"{source.name}.damaged-{number}")).exists():
        number += 1
    return target


def _set_aside_before(folder: Path) -> list[DamagedFile]:
    return [
        DamagedFile(
            found.name.rpartition(".damaged-")[0], found.name, "set aside at an earlier start"
        )
        for found in sorted(folder.glob("*.damaged-*"))
    ]
