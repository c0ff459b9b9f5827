"""The upstream that is a W&B server: what the package's page says, done."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from kelt.proxies import proxy_for
from kelt.wandb_upstream import http_url, netrc_key
from kelt_daemon.batch import Outgoing
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import (
    NotYetError,
    OverloadedError,
    RefusedError,
    RejectedDataError,
    RunRefusedError,
    UnreachableError,
)
from kelt_daemon.host import InThread, in_thread
from kelt_daemon.upstream import Access, PushedCursor, ServerInfo
from kelt_daemon.upstream.wandb import requests
from kelt_daemon.upstream.wandb.artifact_carrying import ArtifactSender
from kelt_daemon.upstream.wandb.carried_run import CarriedFile, CarriedRun
from kelt_daemon.upstream.wandb.carrying import Carrier
from kelt_daemon.upstream.wandb.chapters import chapters, contiguous
from kelt_daemon.upstream.wandb.file_carrying import FileCarrier
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_daemon.upstream.wandb.file_spool import FileSpool
from kelt_daemon.upstream.wandb.ordering import QueuedRun, RunQueue
from kelt_daemon.upstream.wandb.output_log import OutputLog
from kelt_daemon.upstream.wandb.progress_file import progress_path, read_progress, write_progress
from kelt_daemon.upstream.wandb.replies import UNREADABLE, describe, read_standing
from kelt_daemon.upstream.wandb.seats import Seat, Seats
from kelt_daemon.upstream.wandb.talking import Talk, trust_for
from kelt_daemon.upstream.wandb.turns import Turns
from kelt_daemon.upstream.wandb.uploading import Uploader
from kelt_proto.v1.frames import DamagedFrameError
from kelt_proto.v1.record_pb2 import RunOpened
from kelt_proto.v1.upstream_pb2 import DescribeRunReply, DescribeRunRequest

#: How many runs send files at a time: other runs' pushes need some of the upstream's slots, too.
_SENDERS_MAX = 8
_SENDER_WAIT_S = 5.0


class WandbServer:
    """A W&B server.

    Args:
        url: its address, `wandb+https://…`.
        config: deadlines and intervals.
        queue: the run folders that go there.
        look: finds run folders that were made since they were looked for last.
        room: for files on their way.
        in_thread: does work that blocks.
    """

    def __init__(
        self,
        *,
        url: str,
        config: DaemonConfig,
        queue: RunQueue,
        look: Callable[[], Awaitable[None]],
        room: FileRoom,
        in_thread: InThread = in_thread,
    ) -> None:
        self._url = http_url(url)
        self._config = config
        self._queue = queue
        self._room = room
        self._in_thread = in_thread
        self._talk: Talk | None = None
        self._uploader: Uploader | None = None
        self._turns = Turns(queue=queue, kept=self._kept, look=look)
        self._seats = Seats(
            queue=queue, kept=self._kept, speaker=self, interval_s=config.wandb_heartbeat_s
        )
        self._senders = anyio.CapacityLimiter(_SENDERS_MAX)
        #: As in `Upstream`.
        self.artifacts = ArtifactSender(
            url=self._url,
            speaker=self,
            putter=self,
            wait_turn=self._artifact_turn,
            in_thread=in_thread,
        )

    async def connect(self, access: Access) -> ServerInfo:
        """As in `Upstream`."""
        await self.aclose()
        key = access.api_key or await self._in_thread(netrc_key, self._url, os.environ)
        proxy = proxy_for(self._url, proxy=access.proxy, environ=os.environ)
        trusted = await self._in_thread(trust_for, self._url, access.ca_file)
        self._talk = Talk(url=self._url, api_key=key, trusted=trusted, proxy=proxy)
        self._uploader = Uploader(
            access=access, step_s=self._config.push_deadline_s, in_thread=self._in_thread
        )
        try:
            viewer = (await self.ask(requests.viewer())).get("viewer")
        except RunRefusedError as error:
            raise RefusedError(str(error)) from error
        except (NotYetError, RejectedDataError) as error:
            raise UnreachableError(
                f"What answers at {self._url} is not a W&B server ({error}); check KELT_UPSTREAM."
            ) from error
        if not isinstance(viewer, dict):
            raise RefusedError(
                f"{self._url} knows nobody by {'this key' if key else 'no key'}; set "
                "WANDB_API_KEY, or run `wandb login`, then run any kelt command. What is logged "
                "waits on this host."
            )
        self._turns.default_entity = str(viewer.get("entity") or "")
        return ServerInfo(
            server_id=self._url,
            version="",
            default_entity=self._turns.default_entity,
            push_bytes_max=self._config.push_bytes_max,
            push_interval_s=self._config.wandb_post_interval_s,
        )

    async def push(self, batches: Sequence[Outgoing]) -> Mapping[bytes, PushedCursor]:
        """As in `Upstream`; what waits for its parent, or is refused by itself, raises."""
        me = self._queued(batches[0].writer_id)
        seat = self._seats.of(me.writer_id)
        async with seat.lock:
            await self._sweep(me, seat)
            run = seat.run = seat.run or await self._kept(me)
            fitting, gaps = contiguous(batches, run.folded)
            try:
                await self._carry(fitting, run, seat, me)
            except BaseException:
                seat.run = None
                raise
            if run.is_completed:
                seat.run = None  # as a rule nothing more comes
        self._turns.advanced(me.writer_id)
        return {
            writer: PushedCursor(run.committed(writer), writer in gaps)
            for writer in {batch.writer_id for batch in batches}
        }

    async def _carry(
        self, batches: Sequence[Outgoing], run: CarriedRun, seat: Seat, me: QueuedRun
    ) -> None:
        keep = partial(self._keep, me, run)
        files = FileCarrier(
            run=run,
            folder=me.folder,
            spool=FileSpool(me.home, self._url),
            output=OutputLog(me.home, self._url),
            speaker=self,
            putter=self,
            wait_turn=partial(self._turns.wait_files, me),
            keep=keep,
            in_thread=self._in_thread,
        )
        carrier = Carrier(
            run=run,
            fallback=_opened_of(me),
            speaker=self,
            wait_turn=partial(self._turns.wait_turn, me),
            wait_children=partial(self._turns.wait_children, me),
            store=files.store,
            room=self._room,
            keep=keep,
            in_thread=self._in_thread,
        )
        try:
            failure = await self._carry_records(carrier, batches, run)
        except DamagedFrameError as error:
            raise RejectedDataError(f"records that cannot be read: {error}") from error
        await files.make()
        try:
            await self._send_files(files, seat)
        except NotYetError as error:
            failure = error
        async with seat.beating:
            pass  # a sign of life that is on its way arrives before the word of the end
        await carrier.tell_config()
        await carrier.tell_end(files.uploaded)
        if failure is not None:
            raise failure

    async def _send_files(self, files: FileCarrier, seat: Seat) -> None:
        if not files.is_due:
            return
        sender = object()
        with anyio.move_on_after(_SENDER_WAIT_S):
            await self._senders.acquire_on_behalf_of(sender)
            seat.is_sending_files = True
        if not seat.is_sending_files:
            raise NotYetError("Files of the run wait for those of other runs.")
        try:
            await files.send()
        finally:
            seat.is_sending_files = False
            self._senders.release_on_behalf_of(sender)

    async def _carry_records(
        self, carrier: Carrier, batches: Sequence[Outgoing], run: CarriedRun
    ) -> NotYetError | None:
        for chapter in await self._in_thread(chapters, batches, run.folded):
            if not await carrier.carry(chapter):
                return NotYetError(
                    f"Files that W&B has not taken yet hold the {self._room.limit_bytes >> 20} MiB "
                    "that they may on this host; those of this run wait, and what follows them."
                )
        return None

    async def cursors(self, writer_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """As in `Upstream`: what W&B has acknowledged, by our own book."""
        found: dict[bytes, int] = {}
        for run in self._queue.of(writer_ids):
            seat = self._seats.of(run.writer_id)
            if not seat.lock.locked():
                async with seat.lock:
                    await self._sweep(run, seat)
            kept = await self._kept(run)
            found |= {writer: kept.committed(writer) for writer in run.writers}
        return found

    async def heartbeat(self, beats: Sequence[tuple[bytes, bool]]) -> Collection[bytes]:
        """As in `Upstream`: an empty post for each run that had no other for a while.

        Whose run is to stop W&B says in its answers to posts, to these and to those with rows.
        """
        writers = [writer for writer, _ in beats]
        await self._seats.beat(writers)
        return [writer for writer in writers if self._seats.of(writer).must_stop]

    async def describe_run(
        self, request: DescribeRunRequest, *, deadline_s: float
    ) -> DescribeRunReply:
        """As in `Upstream`: as W&B's own client asks before it resumes. `step` it cannot."""
        question = requests.status(request.entity, request.project, request.run_id)
        data = await self._connected().ask(question, deadline_s=deadline_s)
        try:
            return describe(request, read_standing(data), self._turns.default_entity)
        except UNREADABLE as error:
            raise OverloadedError(f"{self._url} says of the run what cannot be read.") from error

    async def wait_lost(self) -> None:
        """As in `Upstream`: each request is a connection of its own, as far as we know."""
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        """As in `Upstream`."""
        ending = [part for part in (self._talk, self._uploader) if part is not None]
        self._talk = self._uploader = None
        with anyio.CancelScope(shield=True):
            for part in ending:
                await part.aclose()

    # -- as a `Speaker` --------------------------------------------------------------------------

    async def ask(self, question: requests.Question) -> dict[str, Any]:
        """As in `Speaker`."""
        return await self._connected().ask(question, deadline_s=self._config.call_deadline_s)

    async def stream(self, run: CarriedRun, body: dict[str, Any]) -> None:
        """As in `Speaker`; hears in passing whether the run is to stop."""
        seat = self._seats.of(run.writer_id)
        names = (run.entity or self._turns.default_entity, run.project, run.run_id)
        deadline_s = self._config.push_deadline_s
        said = await self._connected().stream(
            names, body, headers=requests.stream_headers(run), deadline_s=deadline_s
        )
        seat.posted_at_s = anyio.current_time()
        seat.must_stop = seat.must_stop or said.get("stopped") is True

    async def put(
        self, url: str, headers: Mapping[str, str], source: Path | bytes, size_bytes: int
    ) -> None:
        """As in `Putter`."""
        if self._uploader is None:
            raise UnreachableError(f"There is no connection to {self._url}.")
        await self._uploader.put(url, headers, source, size_bytes)

    # -- runs ------------------------------------------------------------------------------------

    def _connected(self) -> Talk:
        if self._talk is None:
            raise UnreachableError(f"There is no connection to {self._url}.")
        return self._talk

    async def _artifact_turn(self, writer_id: bytes) -> CarriedRun:
        return await self._turns.wait_artifacts(self._queued(writer_id))

    def _queued(self, writer_id: bytes) -> QueuedRun:
        for run in self._queue.of((writer_id,)):
            return run
        raise NotYetError("The run's folder is not known yet.")

    async def _kept(self, run: QueuedRun) -> CarriedRun:
        """As W&B has acknowledged it: what is in memory may be ahead of that."""
        found = await self._in_thread(read_progress, progress_path(run.home, self._url))
        if found is None or found.writer_id != run.writer_id:
            return CarriedRun(writer_id=run.writer_id)
        return found

    async def _sweep(self, me: QueuedRun, seat: Seat) -> None:
        """Once: what an earlier daemon has left of files, and the room that they take."""
        if not seat.is_swept:
            run = await self._kept(me)
            # Of a run that is through nothing waits but what its process did not finish.
            files = {} if me.is_through else run.files
            await self._in_thread(FileSpool(me.home, self._url).sweep, files.keys())
            if me.is_through or run.has_output_file:
                await self._in_thread(OutputLog(me.home, self._url).remove)
            self._settle(me.writer_id, files)
            seat.is_swept = True

    def _settle(self, writer_id: bytes, files: Mapping[str, CarriedFile]) -> None:
        self._room.settle(writer_id, {key: file.size_bytes for key, file in files.items()})

    async def _keep(self, me: QueuedRun, run: CarriedRun) -> None:
        self._settle(me.writer_id, run.files)
        path = progress_path(me.home, self._url)
        try:
            await self._in_thread(write_progress, path, run)
        except OSError as error:
            reason = error.strerror or error
            raise NotYetError(
                f"What W&B has cannot be noted in {path} ({reason}); mend that. It is tried again."
            ) from error


def _opened_of(me: QueuedRun) -> RunOpened:
    """As far as the folder itself tells, should its first record be lost.

    Whether it made the run or went on in one is not known then: it goes behind what W&B has.
    """
    opened = RunOpened(
        entity=me.entity, project=me.project, run_id=me.run_id, started_at=me.started_at
    )
    opened.resumed.point_unknown = True
    return opened
