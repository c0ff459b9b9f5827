"""A process's hold on a run: its folder, lock, manifest, spool and rounds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from kelt import records
from kelt.artifacts.logged import wait_for_ends
from kelt.console import Console
from kelt.errors import StorageError
from kelt.exit_hooks import Ending
from kelt.history_sample import HistorySample
from kelt.installed_packages import write_requirements
from kelt.journal.errors import NoSpaceError
from kelt.journal.spool import SpoolWriter
from kelt.journal.spool_copy import SpoolCopy
from kelt.journal.spool_segments import NEXT_STEP, InternedSchema
from kelt.local_runs import BranchRecord
from kelt.names import new_writer_id
from kelt.progress import progress_bar
from kelt.records import Opening, RunFacts
from kelt.row_plans import RowSink
from kelt.run_folder import (
    RunManifest,
    boot_id,
    folder_name,
    machine_id,
    pid_start_ticks,
    take_lock,
    write_manifest,
)
from kelt.run_output import RunOutput
from kelt.sender import Sender
from kelt.sending_end import SendingEnd
from kelt.settings import Settings
from kelt.shared_mode import SharedWriter, let_go
from kelt.spool_place import make_spool_folder, remove_spool_folder
from kelt.spool_policy import room_policy
from kelt.stop_requests import obey_stop
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import RowHeader


class RecordSink(RowSink, Protocol):
    """Where a run's records go: a spool, or nowhere."""

    @property
    def dropped_rows(self) -> int:
        """Rows that found no room."""

    def append_control(self, kind: Kind, payload: bytes, /) -> bool:
        """Takes a control record."""

    def count_lost(self, rows: int, /) -> None:
        """Counts rows that were lost before they came here."""


class NoSink:
    """Takes everything and keeps nothing: for `mode="disabled"`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.seq = 0
        self.rows = 0
        self.dropped_rows = 0
        self.step_max = -1

    def append_row(
        self,
        interned: InternedSchema,
        _flags: int,
        step: int,
        timestamp: float,
        runtime: float,
        values: Sequence[Any],
        /,
    ) -> bool:
        """Counts a row."""
        with self._lock:
            number = self._count(step)
            interned.newest = (self.seq, number, values, timestamp, runtime)
        return True

    def append_row_with_tail(
        self, _schema: InternedSchema, header: RowHeader, _values: Sequence[Any], /
    ) -> bool:
        """Counts a row."""
        with self._lock:
            self._count(header.step)
        return True

    def _count(self, step: int) -> int:
        self.seq += 1
        self.rows += 1
        number = self.step_max + 1 if step == NEXT_STEP else step
        self.step_max = max(self.step_max, number)
        return number

    def append_control(self, *_: object) -> bool:
        """Counts a record."""
        self.seq += 1
        return True

    def count_lost(self, rows: int, /) -> None:
        """Nothing to say."""

    def reset_step_max(self, step: int, /) -> None:
        """Says that the branch ends at `step`."""
        self.step_max = step


@dataclass(kw_only=True)
class Session:
    """An open writer."""

    folder: Path
    manifest: RunManifest
    spool: SpoolWriter
    lock_fd: int
    sender: Sender
    output: RunOutput
    sample: HistorySample | None
    #: The lock of a shared run's primary on this host; -1 without one.
    hold_fd: int = -1
    #: The folders of the artifacts that it logged.
    artifacts: list[Path] = field(default_factory=list)

    def close(self) -> None:
        """Ends the rounds, the spool and the lock; the files stay."""
        with contextlib.suppress(KeyboardInterrupt):  # one more of an impatient user
            self.sender.stop()
        is_copied = self.sender.is_all_copied
        with contextlib.suppress(OSError, ValueError):
            self.spool.close()
        if is_copied:  # before the lock is given back, so that nobody reads it meanwhile
            with contextlib.suppress(OSError):
                remove_spool_folder(self.spool.folder)
        with contextlib.suppress(OSError):
            fcntl.flock(self.lock_fd, fcntl.LOCK_UN)  # a forked child may hold a copy
            os.close(self.lock_fd)
        with contextlib.suppress(OSError):
            let_go(self.hold_fd)

    def abandon(self) -> None:
        """Lets go in a forked child, without touching what is its parent's."""
        self.spool.abandon()
        for fd in (self.lock_fd, self.hold_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def open_session(
    *,
    settings: Settings,
    branch: BranchRecord,
    opening: Opening,
    facts: RunFacts,
    config: dict[str, Any],
    highest_step: int,
    console: Console,
    started_at: float,
    sends: bool = True,
    measures: bool = True,
    hold_fd: int = -1,
) -> Session:
    """Makes a run folder and writes the first records; its rounds have not begun.

    Args:
        settings: of the run.
        branch: what the session writes.
        opening: where it comes from.
        facts: what people see of it.
        config: what was given at the start.
        highest_step: where the branch stands.
        console: told what goes wrong later.
        started_at: orders the sessions of a run.
        sends: whether this process hands records to the daemon itself.
        measures: whether it tells of the machine.
        hold_fd: the lock of a shared run's primary, to keep with the session.

    Raises:
        StorageError: the folder or the spool cannot be made.
    """
    now = time.time()
    made = _make_folder(settings, branch, now, opening.shared)
    manifest, spool = made.manifest, made.spool
    spool.reset_step_max(highest_step)
    spool.append_control(Kind.RUN_OPENED, records.run_opened(manifest, opening, facts, started_at))
    if config:
        spool.append_control(Kind.CONFIG, records.config(config, (), now))
    sample = None if console.silent else HistorySample()
    output = RunOutput(
        settings=settings,
        spool=spool,
        console=console,
        label="" if opening.shared is None else opening.shared.label,
        measures=measures,
    )
    sender = Sender(
        settings=settings,
        spool=spool,
        folder=made.folder,
        console=console,
        sample=sample,
        sends=sends and settings.mode == "online",
        copy=SpoolCopy(folder=made.folder) if manifest.spool_folder else None,
        on_stop=partial(obey_stop, console, stoppable=settings.stoppable),
        put_out=output.turn,
    )
    return Session(
        folder=made.folder,
        manifest=manifest,
        spool=spool,
        lock_fd=made.lock_fd,
        sender=sender,
        output=output,
        sample=sample,
        hold_fd=hold_fd,
    )


@dataclass(frozen=True, kw_only=True)
class _MadeFolder:
    """A run folder with an empty spool, whose lock is held."""

    folder: Path
    manifest: RunManifest
    spool: SpoolWriter
    lock_fd: int


def _make_folder(
    settings: Settings, branch: BranchRecord, now: float, shared: SharedWriter | None
) -> _MadeFolder:
    """Makes it, with a link where `dir=` puts it elsewhere; or nothing of it is left.

    Raises:
        StorageError: it cannot be made.
    """
    runs, writer_id = settings.state_dir.runs, new_writer_id()
    name = folder_name(branch.run_id, writer_id, now, settings.mode)
    folder = (settings.run_dir or runs) / name
    try:
        folder.mkdir(mode=0o700, parents=True)
        if settings.run_dir is not None:
            (runs / name).symlink_to(folder, target_is_directory=True)
    except OSError as error:
        raise StorageError(
            f"The run folder {folder} cannot be made ({error.strerror}); "
            "point KELT_DIR or dir= at a folder that can be written."
        ) from error
    lock_fd, place = -1, folder
    try:
        place = make_spool_folder(folder, writer_id, spool_dir=settings.spool_dir)
        lock_fd = take_lock(place)
        manifest = _manifest(settings, branch, writer_id, now, shared)
        if place != folder:
            manifest = replace(manifest, spool_folder=os.fsdecode(place))
        write_manifest(folder, manifest)
        write_requirements(folder, upstream=settings.upstream)
        spool = SpoolWriter(
            folder=place,
            writer_id=writer_id,
            quota_bytes=settings.spool_bytes_max,
            policy=room_policy(settings.spool_policy, block_max_ms=settings.spool_block_max_ms),
        )
    except (OSError, NoSpaceError, StorageError) as error:
        if lock_fd >= 0:
            os.close(lock_fd)
        _remove(folder, place, None if settings.run_dir is None else runs / name)
        if isinstance(error, StorageError):
            raise
        reason = error.reason if isinstance(error, NoSpaceError) else error.strerror
        raise StorageError(
            f"The run cannot be kept in {place} ({reason}); free some disk, or point KELT_DIR "
            "or dir= elsewhere."
        ) from error
    return _MadeFolder(folder=folder, manifest=manifest, spool=spool, lock_fd=lock_fd)


def _remove(folder: Path, place: Path, link: Path | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):  # where nothing can be deleted either
        if link is not None:
            link.unlink(missing_ok=True)
        if folder.exists():  # rmtree needs descriptors
            folder.rmdir()


def send_rest(
    session: Session, ending: Ending, *, timeout_s: float, console: Console
) -> SendingEnd:
    """Writes the goodbye, waits a bounded time until everything is committed, and closes."""
    session.output.end()
    payload = records.exited(
        exit_code=ending.exit_code, reason=ending.reason, signal=ending.signal, at=time.time()
    )
    session.spool.append_control(Kind.EXIT, payload)
    deadline = time.monotonic() + timeout_s
    with progress_bar(console) as on_progress:
        end = session.sender.finish(timeout_s=timeout_s, on_progress=on_progress)
    if end.is_synced and session.artifacts:
        left_s = deadline - time.monotonic()
        end = replace(end, artifacts_waiting=wait_for_ends(session.artifacts, timeout_s=left_s))
    session.close()
    return end


def _manifest(
    settings: Settings,
    branch: BranchRecord,
    writer_id: bytes,
    now: float,
    shared: SharedWriter | None,
) -> RunManifest:
    return RunManifest(
        writer_id=writer_id.hex(),
        entity=branch.entity,
        project=branch.project,
        run_id=branch.run_id,
        branch_id=branch.branch_id,
        mode=settings.mode,
        upstream=settings.upstream,
        started_at=now,
        hostname=os.uname().nodename,
        machine_id=machine_id(),
        boot_id=boot_id(),
        pid=os.getpid(),
        pid_start_ticks=pid_start_ticks(os.getpid()),
        label="" if shared is None else shared.label,
    )
