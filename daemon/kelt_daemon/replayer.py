"""Minds a copy of a run folder: takes what it holds, reads on while it grows, judges nobody."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import anyio
import structlog

from kelt.run_folder import WHOLE_NAME
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import MIB, DaemonConfig
from kelt_daemon.cursors import read_cursors, spool_signature
from kelt_daemon.folder_loading import PHASES
from kelt_daemon.host import Host
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.liveness import Life
from kelt_daemon.records import encode_loss, find_assertions
from kelt_daemon.replay import Copy, Hole, newest_change
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.run_scan import Signature

log = structlog.get_logger()
#: About this much is read at a time.
_TAKE_BYTES = 4 * MIB
_TAKE_ENTRIES_MAX = 64
#: Between its intervals a copy that grows is looked at so often, and read where that shows more.
_LOOK_EVERY_S = 0.25
#: What a copy lacks is given up only after it was watched for so long, whatever the clock says.
_WATCHED_S = 60.0


class Replayer:
    """Takes a copy into the daemon's journal.

    Args:
        folder: the run folder.
        committer: makes what is read durable.
        host: this machine.
        config: intervals.
        reading: bounds how many are read at a time.
    """

    def __init__(
        self,
        *,
        folder: RunFolder,
        committer: GroupCommitter,
        host: Host,
        config: DaemonConfig,
        reading: anyio.CapacityLimiter,
    ) -> None:
        self._folder = folder
        self._committer = committer
        self._host = host
        self._config = config
        self._reading = reading

    async def run(self) -> None:
        """Until nothing changes any more; what is missing then is said in `folder.incomplete`."""
        folder, config = self._folder, self._config
        cursors = await self._host.in_thread(read_cursors, folder.path)
        copy = Copy(
            folder=folder.path,
            writer_id=folder.writer_id,
            taken={w: c.accepted for w, c in folder.writers.items()},
            trimmed=cursors.trimmed,
        )
        signature = await self._host.in_thread(spool_signature, folder.path)
        if folder.copied != signature:
            known_s = await self._known_quiet_s() if folder.copied is None else 0.0
            folder.quiet_since_s = anyio.current_time() - known_s
        read: tuple[Signature, bool] | None = None
        interval_s = min(config.settle_s, config.follow_interval_s)
        next_read_s = 0.0
        while True:
            # Before what is there: nothing comes after it was said that it is whole.
            is_whole = await self._host.in_thread(_is_whole, folder.path)
            now = await self._host.in_thread(spool_signature, folder.path)
            if now != signature:
                signature, folder.quiet_since_s = now, anyio.current_time()
            folder.copied = signature
            # What is written through a map may change neither size nor time of a file.
            if read == (signature, is_whole) and anyio.current_time() < next_read_s:
                await anyio.sleep(min(interval_s, _LOOK_EVERY_S))
                continue
            async with self._reading:
                await self._take(copy)
            read, next_read_s = (signature, is_whole), anyio.current_time() + interval_s
            now = await self._host.in_thread(spool_signature, folder.path)
            if now != signature:
                signature, folder.quiet_since_s = now, anyio.current_time()
            quiet_s = anyio.current_time() - folder.quiet_since_s
            if self._declare(copy, quiet_s=quiet_s):
                read = None
                continue
            is_awaited = any(hole.damage for hole in copy.holes.values())
            if (is_whole or quiet_s >= config.settle_s) and not is_awaited:
                break
            await anyio.sleep(min(interval_s, _LOOK_EVERY_S))
        self._pass_end(copy)
        folder.incomplete = _incomplete(folder, copy, patience_s=config.missing_settle_s)

    async def _known_quiet_s(self) -> float:
        """For how long nothing had changed when it was first seen: a copy of old is not waited for.

        By the time of day, which may have jumped: so not so long that anything is given up at once.
        """
        changed_at = await self._host.in_thread(newest_change, self._folder.path)
        known_s = min(self._host.now() - changed_at, self._config.missing_settle_s - _WATCHED_S)
        return max(0.0, known_s)

    async def _take(self, copy: Copy) -> None:
        folder = self._folder
        before = folder.cursor(folder.writer_id).accepted
        entries = copy.entries()
        while pieces := await self._host.in_thread(_some, entries):
            for entry in pieces:
                await self._pass_trimmed(entry)
                folder.offer(entry.writer_id, entry.first_seq, entry.last_seq, entry.payload)
                self._hear(entry)
            self._committer.submit(folder)
            folder.changed.notify()
            await self._committer.wait_room(folder, folder.writer_id)
        await self._committer.drain(folder)
        taken = folder.cursor(folder.writer_id).accepted - before
        if taken:
            log.info(
                "copy_read", run=folder.manifest.run_id, folder=str(folder.path), records=taken
            )

    async def _pass_trimmed(self, entry: NewEntry) -> None:
        """Goes over what the copy's daemon had committed and deleted: its server may say so."""
        folder = self._folder
        cursor = folder.cursor(entry.writer_id)
        if entry.first_seq > cursor.accepted + 1:
            self._committer.submit(folder)
            await self._committer.drain(folder)
            cursor.accepted = cursor.durable = entry.first_seq - 1
            folder.cursors.trimmed[entry.writer_id] = cursor.accepted

    def _hear(self, entry: NewEntry) -> None:
        """What the daemon of the writer's own host says of the writer."""
        folder = self._folder
        if entry.writer_id == folder.writer_id:
            return
        for said in find_assertions(entry.payload, entry.writer_id):
            if said.writer_id == folder.writer_id and said.state in PHASES:
                folder.life = Life(
                    phase=PHASES[said.state],
                    reason=said.reason,
                    at=said.at,
                    exit_code=said.exit_code,
                    signal=said.signal,
                )

    def _declare(self, copy: Copy, *, quiet_s: float) -> bool:
        """Gives up what will not come any more; returns whether anything was."""
        config, folder = self._config, self._folder
        is_any = False
        for hole in list(copy.holes.values()):
            limit_s = config.damage_settle_s if hole.damage else config.missing_settle_s
            if quiet_s < limit_s:
                continue
            frames = encode_loss(hole.writer_id, hole.first_seq, hole.last_seq, _reason(hole))
            folder.offer(hole.writer_id, hole.first_seq, hole.last_seq, frames)
            copy.taken[hole.writer_id] = hole.last_seq
            is_any = True
        if copy.damaged_end and not copy.holes and quiet_s >= config.missing_settle_s:
            folder.assert_unknown_loss(f"damage at the end of {copy.damaged_end}, in a copy")
            copy.damaged_end = ""
        self._committer.submit(folder)
        return is_any

    def _pass_end(self, copy: Copy) -> None:
        """As `_pass_trimmed`, where nothing comes after."""
        folder = self._folder
        copy.pass_end()
        for writer_id, through in copy.taken.items():
            cursor = folder.cursor(writer_id)
            if through > cursor.accepted and through <= copy.trimmed.get(writer_id, 0):
                cursor.accepted = cursor.durable = through
                folder.cursors.trimmed[writer_id] = through


def _is_whole(folder: Path) -> bool:
    """Whether its maker said so: then there is nothing to wait for."""
    return (folder / WHOLE_NAME).exists()


def _some(entries: Iterator[NewEntry]) -> list[NewEntry]:
    taken: list[NewEntry] = []
    size_bytes = 0
    for entry in islice(entries, _TAKE_ENTRIES_MAX):
        taken.append(entry)
        size_bytes += len(entry.payload)
        if size_bytes >= _TAKE_BYTES:
            break
    return taken


def _reason(hole: Hole) -> str:
    found = f"damage in {hole.damage}" if hole.damage else "missing"
    return f"{found}, in a copy of the run's folder"


def _incomplete(folder: RunFolder, copy: Copy, *, patience_s: float) -> str:
    if not copy.holes and copy.damaged_end:
        return (
            f"{folder.path} cannot be read to its end ({copy.damaged_end}); copy that file again. "
            f"{patience_s / 3600:.0f} h after the last change the rest of it counts as lost."
        )
    if not copy.holes:
        return ""
    hole = next(iter(copy.holes.values()))
    return (
        f"{folder.path} lacks records {hole.first_seq:,} to {hole.last_seq:,}, while later ones "
        f"are there; copy the rest of it. {patience_s / 3600:.0f} h after the last change they "
        "count as lost."
    )
