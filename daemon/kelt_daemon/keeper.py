"""Minds one run folder: watches its writer, reads what a dead one left, says how it ended."""

from __future__ import annotations

from pathlib import Path

import anyio
import structlog

from kelt.journal.batches import CutBatch
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import MIB, DaemonConfig
from kelt_daemon.cursor_saving import save_cursors
from kelt_daemon.host import Host, Probe
from kelt_daemon.liveness import Facts, Phase, Process, judge
from kelt_daemon.replayer import Replayer
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.spool_import import (
    SpoolImport,
    UnknownLoss,
    has_spool,
    remove_spool,
    spool_signs,
    untold_losses,
)

log = structlog.get_logger()
_IMPORT_BYTES = 4 * MIB


class Keeper:
    """Minds one run folder.

    Args:
        folder: the run folder.
        committer: makes what is read durable.
        host: this machine.
        config: intervals.
        reading: bounds how many spools and copies are read at a time.
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
        boot_id = folder.manifest.boot_id
        self._was_rebooted = folder.is_on_this_machine and boot_id not in {"", host.boot_id}
        self._is_spool_read = False
        self._logged_losses = folder.all_lost_rows
        self._lock_free_since_s: float | None = None
        self._beat: int | None = None
        self._is_known_gone = False

    async def run(self) -> None:
        """Until the writer ended and its spool is in the journal."""
        folder = self._folder
        if not folder.is_on_this_machine:
            await self._replay()
        elif self._was_rebooted:
            await self._watch(None)
        else:
            probe = self._host.probe(folder.manifest, folder.spool_path)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._note_gone, probe)
                    await self._watch(probe)
                    group.cancel_scope.cancel()
            finally:
                probe.close()
        await self._committer.drain(folder)
        await self._host.in_thread(folder.journal.close)
        folder.is_live = False
        folder.is_over = True
        save_cursors(folder)
        folder.changed.notify()
        folder.artifact_news.notify()

    async def _note_gone(self, probe: Probe) -> None:
        """However long its spool waits for the disk, nobody is told that the dead live."""
        await probe.wait_gone()
        self._folder.is_live = False
        self._is_known_gone = True
        self._folder.changed.notify()

    async def _replay(self) -> None:
        """A copy of a folder: read as it is, and nobody judged."""
        folder = self._folder
        replayer = Replayer(
            folder=folder,
            committer=self._committer,
            host=self._host,
            config=self._config,
            reading=self._reading,
        )
        await replayer.run()
        self._judge(Facts(at=self._host.now(), monotonic_s=0.0, goodbye=folder.goodbye))
        if not folder.life.phase.is_ended:
            log.info("foreign_run_without_end", folder=str(folder.path))

    async def _watch(self, probe: Probe | None) -> None:
        folder = self._folder
        while True:
            process, is_closed = self._observe(probe)
            if is_closed and not self._has_streams():
                await self._import_spool(is_removed=process is Process.GONE or self._is_ended())
                folder.is_closed = True
            else:
                folder.is_closed = False
                if self._must_follow():
                    await self._import_spool(is_removed=False, is_live=True)
            await self._note_signs(is_live=process is not Process.GONE)
            if self._observe(probe) != (process, is_closed):
                continue  # that took long, on a slow or failing disk: what was seen is not so now
            await self._look(probe, process)
            is_ended = folder.life.phase.is_ended
            folder.is_live = not is_ended and process is not Process.GONE
            if is_ended and is_closed and not self._has_streams():
                await self._import_spool(is_removed=True)
                return
            await self._wait_for_news(is_gone=process is Process.GONE)

    def _observe(self, probe: Probe | None) -> tuple[Process, bool]:
        """What is known of the writer's process, and whether nothing more comes from the writer."""
        process = Process.GONE if probe is None else probe.look()
        return process, process is Process.GONE or self._is_lock_free()

    async def _note_signs(self, *, is_live: bool) -> None:
        """Its beat; and what it counts as lost is known before it has room to record it."""
        folder = self._folder
        if is_live:
            signs = await self._host.in_thread(spool_signs, folder.spool_path)
            folder.counted_rows, self._beat = signs.lost_rows, signs.beat
        if folder.all_lost_rows > self._logged_losses:
            self._logged_losses = folder.all_lost_rows
            log.warning(
                "rows_lost",
                run=folder.manifest.run_id,
                folder=folder.path.name,
                rows=folder.all_lost_rows,
            )

    def _must_follow(self) -> bool:
        """Whether a living writer's records come by no stream: a forked child's, for example."""
        if self._folder.manifest.mode == "offline":
            return self._folder.followers > 0
        return not self._has_streams()

    def _is_ended(self) -> bool:
        return self._folder.goodbye is not None or self._folder.life.phase.is_ended

    def _has_streams(self) -> bool:
        return self._folder.cursor(self._folder.writer_id).streams > 0

    def _is_lock_free(self) -> bool:
        """Whether the writer was closed in a living process: it let its lock go a while ago."""
        now_s = anyio.current_time()
        folder = self._folder
        if not (folder.is_spool_removed or self._host.is_lock_free(folder.spool_path)):
            self._lock_free_since_s = None
            return False
        if self._lock_free_since_s is None:
            self._lock_free_since_s = now_s
        # One that said goodbye is closed for certain, and so is an offline run, whose goodbye is
        # in the spool; another may be about to take its lock.
        if self._is_ended() or self._folder.manifest.mode == "offline":
            return True
        return now_s - self._lock_free_since_s >= self._config.free_lock_s

    async def _look(self, probe: Probe | None, process: Process) -> None:
        folder = self._folder
        is_gone = process is Process.GONE
        status = await probe.exit_status() if probe is not None and is_gone else None
        facts = Facts(
            at=self._host.now(),
            monotonic_s=anyio.current_time(),
            is_on_this_machine=folder.is_on_this_machine,
            was_rebooted=self._was_rebooted,
            process=process,
            status=status,
            beat=None if probe is None or is_gone else self._beat,
            is_spool_read=self._is_spool_read,
            goodbye=folder.goodbye,
            ran_out_of_memory=probe is not None and is_gone and probe.ran_out_of_memory(),
        )
        self._judge(facts)

    def _judge(self, facts: Facts) -> None:
        folder = self._folder
        before = folder.life
        verdict = judge(before, facts, stalled_after_s=self._config.stalled_after_s)
        folder.life = verdict.life
        if verdict.is_asserted:
            folder.assert_life(verdict.life)
            self._committer.submit(folder)
        if verdict.life.phase is not before.phase:
            level = (
                log.info if verdict.life.phase in {Phase.RUNNING, Phase.FINISHED} else log.warning
            )
            level(
                "run_state",
                run=folder.manifest.run_id,
                folder=folder.path.name,
                state=verdict.life.phase.value,
                reason=verdict.life.reason,
            )
            folder.changed.notify()

    async def _wait_for_news(self, *, is_gone: bool) -> None:
        """Until the process ends, somebody asks, or it is time to look again."""
        folder, config = self._folder, self._config
        seen, nudge = (self._has_streams(), self._is_ended()), folder.nudged.next()
        interval_s = config.follow_interval_s if folder.followers else config.probe_interval_s
        with anyio.move_on_after(min(interval_s, config.probe_interval_s)):
            while (
                (self._has_streams(), self._is_ended()) == seen
                and not nudge.is_set()
                and (is_gone or not self._is_known_gone)
            ):
                await folder.changed.wait()

    async def _import_spool(self, *, is_removed: bool, is_live: bool = False) -> None:
        """Moves what the spool has beyond the journal into it.

        Args:
            is_removed: whether the segments are deleted afterwards: never under a living writer.
            is_live: whether the writer may be writing at this moment.
        """
        folder = self._folder
        await self._committer.drain(folder)
        cursor = folder.cursor(folder.writer_id)
        before = cursor.accepted
        place = folder.spool_path
        if not has_spool(place):
            self._is_spool_read = True
            self._tell_lost_tail()
            return
        if place != folder.path and self._was_rebooted:
            # What a power loss took from this machine's disk may be in the copy.
            await self._offer_all(self._import_of(folder.path, is_live=True), is_removed=False)
        spool = self._import_of(place, is_live=is_live)
        await self._offer_all(spool, is_removed=is_removed)
        await self._committer.drain(folder)
        self._is_spool_read = self._is_spool_read or not is_live
        if cursor.accepted > before:
            folder.lost_tail = ""  # the spool has mended it
            if is_live:
                save_cursors(folder)  # by which its writer may make room (`kelt.daemon_note`)
        if is_removed:
            self._tell_lost_tail()
            await self._tell_untold_losses()
        if is_removed and not folder.is_damaged:
            await self._host.in_thread(remove_spool, spool, folder.path, place)
        if cursor.accepted > before:
            log.info(
                "spool_imported",
                run=folder.manifest.run_id,
                folder=folder.path.name,
                records=cursor.accepted - before,
            )

    def _import_of(self, place: Path, *, is_live: bool) -> SpoolImport:
        folder = self._folder
        return SpoolImport(
            folder=place,
            writer_id=folder.writer_id,
            after_seq=folder.cursor(folder.writer_id).accepted,
            is_live=is_live,
        )

    async def _offer_all(self, spool: SpoolImport, *, is_removed: bool) -> None:
        folder = self._folder
        while True:
            # Before, and again once it is its turn: a thousand spools must not be read at once.
            await self._committer.wait_room(folder, folder.writer_id)
            async with self._reading:
                if not self._committer.has_room(folder, folder.writer_id):
                    continue
                pieces = await self._host.in_thread(self._take, spool)
                for piece in pieces:
                    if isinstance(piece, CutBatch):
                        folder.offer(
                            folder.writer_id, piece.first_seq, piece.last_seq, piece.frames
                        )
                    elif is_removed:
                        folder.assert_unknown_loss(piece.reason)
                self._committer.submit(folder)
            if not pieces:
                return

    async def _tell_untold_losses(self) -> None:
        """A trainer killed while its disk was full counted losses and had no room to say so."""
        folder = self._folder
        rows = await self._host.in_thread(untold_losses, folder.spool_path)
        rows -= folder.untold_losses_told
        if rows > 0:
            folder.untold_losses_told += rows
            folder.assert_loss(rows, "no room on the run's host, told after its end")
            self._committer.submit(folder)
            await self._committer.drain(folder)

    def _tell_lost_tail(self) -> None:
        folder = self._folder
        reason, folder.lost_tail = folder.lost_tail, ""
        if reason:
            folder.assert_unknown_loss(reason)
            self._committer.submit(folder)

    def _take(self, spool: SpoolImport) -> list[CutBatch | UnknownLoss]:
        return spool.take(bytes_max=_IMPORT_BYTES)
