"""Carries one run folder's journal upstream, behind the upstream's cursor.

It reads on from where it stands and keeps a few pushes under way, in order. Whenever anything goes
wrong, and when the upstream says that records are missing before those it got, it forgets where it
stood, lets what is under way end, and starts again from the upstream's cursors. What the journal
lacks is looked for elsewhere (`missing_records`); what the upstream refuses for good is found and
set aside (`batch`, `refusals`).
"""

from __future__ import annotations

import contextlib
from functools import partial

import anyio
import structlog

from kelt_daemon.batch import Push, PushBounds
from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursor_saving import CursorSaver
from kelt_daemon.errors import (
    NotYetError,
    RejectedDataError,
    RunGoneError,
    RunRefusedError,
    TooSlowError,
    UnreachableError,
    UpstreamError,
)
from kelt_daemon.host import Host
from kelt_daemon.links import Call
from kelt_daemon.missing_records import filled
from kelt_daemon.refusals import Refusals
from kelt_daemon.retry import Backoff
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.unsent import Unsent

log = structlog.get_logger()


class Shipper:
    """The way upstream of one run folder.

    Args:
        folder: the run folder.
        host: chance and threads.
        config: windows and intervals.
        replays: bounds how many runs to which nothing is added any more are sent at a time.
    """

    def __init__(
        self,
        *,
        folder: RunFolder,
        host: Host,
        config: DaemonConfig,
        replays: anyio.CapacityLimiter,
    ) -> None:
        self._folder = folder
        self._link = folder.link
        self._host = host
        self._config = config
        self._replays = replays
        self._aligned_with = 0
        self._unsent = Unsent(folder=folder, host=host)
        self._in_flight = 0
        self._landed = anyio.Event()
        self._failure: UpstreamError | None = None
        self._failed_push = Push()
        self._must_go_back = False
        #: How often in a row the upstream said "not yet" as if for good.
        self._delays = 0
        self._pushes = 0
        self._bounds = PushBounds.widest(
            bytes_limit=config.push_bytes_max, bytes_min=config.push_bytes_min
        )
        self._refusals = Refusals(folder=folder, host=host, config=config)
        self._saver = CursorSaver(folder, interval_s=config.cursors_save_interval_s)
        self._pushed_at_s = 0.0
        self._backoff = Backoff(min_s=config.backoff_s_min, max_s=config.backoff_s_max)

    async def run(self) -> None:
        """Ships until the folder is over and everything committed."""
        try:
            while not await self._is_done():
                await self._link.wait_ready()
                # Whole runs take turns, so that a thousand of them need no more memory than a few.
                async with self._replays if self._folder.is_over else contextlib.nullcontext():
                    is_well = await self._try_round()
                if not is_well:
                    await self._rest()
        finally:
            self._saver.changed(anyio.current_time(), is_forced=True)

    async def _is_done(self) -> bool:
        """Waits for something to ship; true where nothing will come any more."""
        folder = self._folder
        while True:
            is_wanted = (folder.has_unshipped or folder.is_unconfirmed) and not folder.is_held
            if is_wanted and not folder.problem:
                return False
            if folder.is_over and folder.is_committed and not folder.pending and not is_wanted:
                return True
            if (save_at_s := self._saver.due_at_s) is None:
                await folder.changed.wait()
                continue
            await folder.changed.wait_until(save_at_s)
            if anyio.current_time() >= save_at_s:
                self._saver.changed(anyio.current_time(), is_forced=True)

    async def _rest(self) -> None:
        failure, folder = self._failure, self._folder
        if isinstance(failure, RejectedDataError):
            await self._look_for_refused(str(failure))
            return
        if isinstance(failure, RunGoneError):
            self._park(str(failure))
            return
        if isinstance(failure, RunRefusedError):
            await self._sit_out(str(failure))
            return
        if isinstance(failure, NotYetError):
            folder.delay = str(failure)
            self._delays = self._delays + 1 if failure.may_be_final else 0
            if self._delays >= self._config.not_yet_max:
                await self._sit_out(folder.delay)
                return
        self._backoff = self._backoff.failed()
        after_s: float | None = getattr(failure, "retry_after_s", None)
        delay_s = self._backoff.delay_s(chance=self._host.chance(), retry_after_s=after_s)
        await folder.nudged.wait_at_most(delay_s)

    async def _look_for_refused(self, reason: str) -> None:
        """Half of the push next time, or the one record that is left goes aside."""
        push = self._failed_push
        if not push.batches:
            self._park(
                f"The upstream does not say how far it has this run ({reason}); what is logged "
                "stays on this host. `kelt sync` tries again, a newer kelt may help."
            )
            return
        if push.records > 1 and self._bounds.records_max != 1:
            self._bounds = self._bounds.refused(push.records)
            return
        if problem := await self._refusals.set_aside(push, reason):
            self._park(problem)

    async def _sit_out(self, problem: str) -> None:
        """Shows why the run is not taken, and tries again once somebody asks, or much later."""
        folder = self._folder
        folder.problem = problem
        folder.changed.notify()
        await folder.nudged.wait_at_most(self._config.refused_retry_s)
        folder.problem = ""
        folder.changed.notify()

    def _park(self, problem: str) -> None:
        folder = self._folder
        log.error("folder_parked", folder=str(folder.path), reason=problem)
        folder.problem = problem
        folder.changed.notify()

    async def _try_round(self) -> bool:
        """Ships until nothing is left or something went wrong; returns whether all went well."""
        self._failure, self._must_go_back, self._pushes = None, False, 0
        self._failed_push = Push()
        connection = self._link.connection
        try:
            if self._aligned_with != connection or self._folder.is_unconfirmed:
                await self._align()
                self._aligned_with = connection
                self._unsent.start_from_cursors()
            elif not self._unsent.is_in_step():
                self._unsent.start_from_cursors()
            before = self._folder.committed_records
            async with anyio.create_task_group() as group:
                while (push := await self._next_push()) is not None:
                    self._in_flight += 1
                    group.start_soon(self._send, push, connection)
        except UpstreamError as error:
            self._failure = self._failure or error
            self._link.failed(error, connection=connection)
        if self._failure is not None:
            self._aligned_with = 0
            # A lost link is waited for elsewhere; what is left to sit out here is an error reply.
            return not self._link.is_ready
        self._folder.delay, self._delays = "", 0
        if self._pushes and self._folder.committed_records <= before:
            return False  # answers that lead nowhere are not asked for in a hurry
        self._backoff = self._backoff.succeeded()
        self._saver.changed(anyio.current_time())
        return True

    async def _align(self) -> None:
        """Asks the upstream where it stands: it alone knows."""
        folder, info = self._folder, self._link.info
        cursors = await self._link.upstream.cursors(list(folder.writers))
        self._link.succeeded()
        folder.replace_committed(info.server_id if info else "", dict(cursors))
        await self._refusals.load(info.server_id if info else "")
        limit = info.push_bytes_max if info else self._config.push_bytes_max
        self._bounds = self._bounds.limited(limit)

    async def _next_push(self) -> Push | None:
        """The next request, or None where the round ends."""
        folder, config = self._folder, self._config
        while self._may_send():
            if self._in_flight >= (1 if self._bounds.is_careful else config.pushes_per_folder_max):
                await self._landed.wait()
                continue
            if anyio.current_time() < (gathers_until_s := self._gathers_until_s()):
                await folder.changed.wait_until(gathers_until_s)
                continue
            if self._unsent.has_more() and (push := await self._gathered()).batches:
                return push
            if self._unsent.has_more_to_read:
                continue
            if not self._in_flight:
                return None
            # What little comes meanwhile travels together with the next push.
            await self._landed.wait()
        return None

    async def _gathered(self) -> Push:
        """What is to be sent next, with its slot; empty where there is nothing or no more may go.

        Nothing is read before there is a slot for it: what is logged meanwhile travels with it, and
        what waits for its turn lies on the disk.
        """
        link, slot = self._link, object()
        await link.slots.acquire_on_behalf_of(slot)
        push = Push()
        try:
            if self._may_send():
                push = await self._unsent.read(
                    bytes_max=link.push_bytes_max(self._bounds.bytes_max),
                    records_max=self._bounds.records_max,
                )
            if push.batches:
                fill = partial(filled, folder=self._folder, markers=self._refusals.markers)
                push.batches = await self._host.in_thread(fill, push.batches)
                self._unsent.pushed(push)
                self._pushed_at_s = anyio.current_time()
                self._folder.is_awaited = False
                push.slot = slot if push.batches else None
        finally:
            if push.slot is not slot:
                link.slots.release_on_behalf_of(slot)
        return push

    def _may_send(self) -> bool:
        """Whether nothing has gone wrong in this round."""
        return not self._failure and not self._must_go_back and self._link.is_ready

    def _gathers_until_s(self) -> float:
        """Up to when what little a living run has logged since the last push waits for more."""
        folder = self._folder
        is_urgent = folder.is_awaited or folder.goodbye is not None or self._unsent.has_ahead
        if not folder.is_live or is_urgent:
            return 0.0
        if not 0 < self._unsent.unread_bytes < self._bounds.bytes_max:
            return 0.0
        info = self._link.info
        asked_s = info.push_interval_s if info else None
        return self._pushed_at_s + (self._config.push_interval_s if asked_s is None else asked_s)

    async def _send(self, push: Push, connection: int) -> None:
        """One request. What it raises ends the round; requests behind it come to nothing."""
        folder, link = self._folder, self._link
        started_s = anyio.current_time()
        try:
            if self._failure or self._must_go_back:
                return
            if not link.is_ready or link.connection != connection:
                raise UnreachableError(f"The connection to {link.url} was lost.")
            self._pushes += 1
            cursors = await link.upstream.push(push.batches)
        except UpstreamError as error:
            if self._failure is None:
                self._failure, self._failed_push = error, push
                if isinstance(error, TooSlowError):
                    self._bounds = self._bounds.too_slow(push)
            link.failed(error, connection=connection, call=Call.PUSH)
            return
        finally:
            link.slots.release_on_behalf_of(push.slot)
            self._in_flight -= 1
            landed, self._landed = self._landed, anyio.Event()
            landed.set()
        link.succeeded(Call.PUSH)
        self._bounds = self._bounds.accepted(push.records)
        self._refusals.taken(push)
        if folder.link is not link:
            return  # it was sent elsewhere meanwhile: this is not what that upstream has
        for writer_id, cursor in cursors.items():
            folder.mark_committed(writer_id, cursor.committed_through)
            if cursor.gap:
                self._must_go_back = True
                self._aligned_with = 0
        folder.changed.notify()
        self._saver.changed(anyio.current_time())
        log.info(
            "batch_committed",
            run=folder.manifest.run_id,
            folder=folder.path.name,
            batches=len(push.batches),
            bytes=sum(len(batch.frames or b"") for batch in push.batches),
            committed=folder.committed_records,
            durable=folder.durable_records,
            gap=self._must_go_back,
            seconds=round(anyio.current_time() - started_s, 4),
        )
