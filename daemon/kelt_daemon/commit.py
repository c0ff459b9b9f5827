"""One loop that makes all journals durable, a group at a time.

A group starts when one of its bounds is reached. While the disk works on it the next one gathers,
so a slow disk makes larger groups and no queue. What cannot be written waits, unacknowledged, and
is tried again; it is bounded because streams are not read beyond `config.unsynced_*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import structlog

from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import DaemonError, JournalFullError
from kelt_daemon.host import InThread, in_thread
from kelt_daemon.journal import Journal
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.quota import JournalQuota
from kelt_daemon.records import holds_control
from kelt_daemon.retry import Retries
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.signals import Signal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Result:
    folder: RunFolder
    durable: list[NewEntry]
    left: list[NewEntry]
    error: DaemonError | None


_Work = tuple[RunFolder, Journal, list[NewEntry]]


class GroupCommitter:
    """Gathers, writes, syncs, and then tells.

    Args:
        config: the bounds of a group.
        in_thread: does the work of the disk.
    """

    def __init__(self, *, config: DaemonConfig, in_thread: InThread = in_thread) -> None:
        self._config = config
        self._in_thread = in_thread
        self._dirty: dict[RunFolder, None] = {}
        self._retries: Retries[RunFolder] = Retries(
            min_s=config.broken_retry_s_min, max_s=config.broken_retry_s_max
        )
        self._submitted = Signal()
        self._waiting_bytes = 0
        self._is_committing = False
        #: What all journals together may take.
        self.quota = JournalQuota(config=config)
        #: Accepted from anywhere and not yet durable.
        self.unsynced_bytes = 0
        #: How often a stream was not read on because too much was unsynced.
        self.held_back = 0
        #: After each group.
        self.synced = Signal()

    def submit(self, folder: RunFolder) -> None:
        """Says that a folder has accepted something."""
        self._dirty[folder] = None
        added_bytes, folder.unsubmitted_bytes = folder.unsubmitted_bytes, 0
        self._waiting_bytes += added_bytes
        self.unsynced_bytes += added_bytes
        self._submitted.notify()

    def has_room(self, folder: RunFolder, writer_id: bytes) -> bool:
        """Whether more may be taken from a writer."""
        return self._has_room_for_all and self._has_own_room(folder, writer_id)

    def _has_own_room(self, folder: RunFolder, writer_id: bytes) -> bool:
        """Not while its journal fails: what waits for one disk must not fill the room of all."""
        is_full = folder.cursor(writer_id).unsynced_bytes > self._config.unsynced_writer_bytes_max
        return not is_full and folder not in self._retries

    def takes_from(self, folder: RunFolder, writer_id: bytes) -> bool:
        """Whether more may be taken from a writer for which no stream is held back; counted."""
        if self._has_own_room(folder, writer_id):
            return True
        self.held_back += 1
        folder.cursor(writer_id).held_back += 1
        return False

    @property
    def _has_room_for_all(self) -> bool:
        return self.unsynced_bytes <= self._config.unsynced_total_bytes_max

    async def wait_room(self, folder: RunFolder, writer_id: bytes) -> None:
        """Until more may be taken from a writer's stream."""
        cursor = folder.cursor(writer_id)
        is_held = False
        while not self.has_room(folder, writer_id):
            self.held_back += not is_held
            cursor.held_back += not is_held
            is_held = True
            await self.synced.wait()

    async def wait_room_for_all(self) -> None:
        """Until more may be taken from a stream that several writers share."""
        is_held = False
        while not self._has_room_for_all:
            self.held_back += not is_held
            is_held = True
            await self.synced.wait()

    async def drain(self, folder: RunFolder) -> None:
        """Until all that a folder accepted is durable."""
        while any(c.durable < c.accepted for c in folder.writers.values()):
            await self.synced.wait()

    @property
    def is_idle(self) -> bool:
        """Whether everything accepted is durable."""
        return not (self._dirty or self._is_committing) and self._retries.next_s is None

    async def run(self) -> None:
        """The loop; ends by cancellation, never in the middle of a group."""
        while True:
            await self._wait_for_work()
            if self._waiting_bytes < self._config.group_bytes:
                await self._gather()
            await self._commit_group()

    async def _wait_for_work(self) -> None:
        while not self._dirty and not self._retries.due(now_s=anyio.current_time()):
            if (next_s := self._retries.next_s) is None:
                await self._submitted.wait()
            else:
                await self._submitted.wait_until(next_s)

    async def _gather(self) -> None:
        with anyio.move_on_after(self._config.group_interval_s):
            while self._waiting_bytes < self._config.group_bytes:
                await self._submitted.wait()

    async def _commit_group(self) -> None:
        now_s = anyio.current_time()
        for folder in self._retries.due(now_s=now_s):
            self._retries.take(folder, now_s=now_s)
            self._dirty[folder] = None
        work = [
            (folder, folder.journal, folder.take_pending())
            for folder in self._dirty
            if folder not in self._retries
        ]
        self._dirty.clear()
        self._waiting_bytes = 0
        self._is_committing = True
        with anyio.CancelScope(shield=True):
            results = await self._write_and_sync(work)
        self._is_committing = False
        for result in results:
            self._settle(result)
        self.quota.look()
        self.synced.notify()

    async def _write_and_sync(self, work: Sequence[_Work]) -> list[_Result]:
        """Several journals at a time: a disk takes syncs together that each wait for it alone."""
        size_bytes = sum(len(entry.payload) for _, _, entries in work for entry in entries)
        # Near the quota one after the other, as each must know what those before it took.
        is_far = self.quota.has_room(size_bytes, is_control=False)
        threads = self._config.commit_threads_max if is_far else 1
        results: list[_Result] = []

        async def commit(part: Sequence[_Work]) -> None:
            results.extend(await self._in_thread(_commit_all, part, self.quota))

        async with anyio.create_task_group() as group:
            for number in range(min(threads, len(work))):
                group.start_soon(commit, work[number::threads])
        return results

    def _settle(self, result: _Result) -> None:
        folder, error = result.folder, result.error
        problem_before = folder.journal_problem
        folder.mark_durable(result.durable)
        self.unsynced_bytes -= sum(len(entry.payload) for entry in result.durable)
        if error is not None:
            is_news = problem_before != str(error)
            folder.give_back(result.left, str(error))
            is_full = isinstance(error, JournalFullError)
            wait_s = self._config.no_room_retry_s if is_full else None
            self._retries.failed(folder, now_s=anyio.current_time(), wait_s=wait_s)
            if is_news:
                log.error("journal_failed", folder=str(folder.path), reason=str(error))
        elif result.durable:
            if problem_before:
                log.info("journal_recovered", folder=str(folder.path))
            log.debug(
                "journal_synced",
                folder=folder.path.name,
                entries=len(result.durable),
                bytes=sum(len(entry.payload) for entry in result.durable),
            )
        folder.changed.notify()


def _commit_all(work: Sequence[_Work], quota: JournalQuota) -> list[_Result]:
    """In a worker thread: one folder after the other, none harmed by another's failure."""
    return [_commit_folder(folder, journal, entries, quota) for folder, journal, entries in work]


def _commit_folder(
    folder: RunFolder, journal: Journal, entries: list[NewEntry], quota: JournalQuota
) -> _Result:
    admitted, refused = _within_quota(folder, entries, quota)
    done = 0
    try:
        while done < len(admitted):
            done += journal.commit(admitted[done:])
    except DaemonError as error:
        return _Result(folder, admitted[:done], admitted[done:] + refused, error)
    except Exception as error:  # noqa: BLE001 # law 3: one folder must not end the loop for all
        problem = DaemonError(
            f"The journal in {folder.path} cannot be written ({type(error).__name__}: {error}); "
            "what is logged stays in the trainer's spool. It is tried again."
        )
        return _Result(folder, admitted[:done], admitted[done:] + refused, problem)
    return _Result(folder, admitted, refused, quota.refusal() if refused else None)


def _within_quota(
    folder: RunFolder, entries: list[NewEntry], quota: JournalQuota
) -> tuple[list[NewEntry], list[NewEntry]]:
    """What may be written now, and what has to wait; each writer's entries stay in their order."""
    admitted: list[NewEntry] = []
    refused: list[NewEntry] = []
    added_bytes = 0
    waiting: set[bytes] = set()
    for entry in entries:
        size_bytes = added_bytes + len(entry.payload)
        is_admitted = entry.writer_id not in waiting and (
            quota.has_room(size_bytes, is_control=False)
            or (
                quota.has_room(size_bytes, is_control=True)
                and (entry.writer_id != folder.writer_id or holds_control(entry.payload))
            )
        )
        if is_admitted:
            added_bytes = size_bytes
            admitted.append(entry)
        else:
            waiting.add(entry.writer_id)
            refused.append(entry)
    return admitted, refused
