"""A `WandbServer` before a recording server, with run folders and what ships them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from server.streams import Stream, json_items, writer_id

from harness.wandb_stub import KEY, WandbStub
from kelt.artifacts.logged import LoggedArtifact, manifest_md5, write_artifact
from kelt.artifacts.manifest import Entry, digest_of_md5
from kelt_daemon.batch import Outgoing
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import UpstreamError
from kelt_daemon.upstream import Access, OutgoingArtifact
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_daemon.upstream.wandb.ordering import QueuedRun
from kelt_daemon.upstream.wandb.wandb_server import WandbServer
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.upstream_pb2 import LogArtifactRequest

WITNESS, FILES = 1000, 2000


async def inline(work: Any, /, *args: object) -> Any:
    return work(*args)


@dataclass
class Queue:
    """As the daemon has it."""

    runs: dict[bytes, QueuedRun]

    def __iter__(self) -> Iterator[QueuedRun]:
        return iter(tuple(self.runs.values()))

    def of(self, writer_ids: Collection[bytes]) -> list[QueuedRun]:
        return [run for run in self if not set(run.writers).isdisjoint(writer_ids)]


@dataclass
class Desk:
    """Pushes streams, as often as it takes."""

    stub: WandbStub
    folder: Path
    config: DaemonConfig = field(default_factory=DaemonConfig)
    queue: dict[bytes, QueuedRun] = field(default_factory=dict)
    #: On the disk, and not known yet.
    unseen: dict[bytes, QueuedRun] = field(default_factory=dict)
    errors: list[UpstreamError] = field(default_factory=list)
    artifacts: int = 0
    room: FileRoom = field(init=False)
    server: WandbServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = self._made()

    def _made(self) -> WandbServer:
        self.room = FileRoom(limit_bytes=self.config.wandb_files_bytes_max)
        return WandbServer(
            url=f"wandb+{self.stub.url}",
            config=self.config,
            queue=Queue(self.queue),
            look=self._look,
            room=self.room,
            in_thread=inline,
        )

    async def _look(self) -> None:
        self.queue |= self.unseen
        self.unseen.clear()

    async def restart(self) -> None:
        """Another process with nothing but the disk."""
        await self.server.aclose()
        self.server = self._made()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.aclose()

    async def connect(self) -> None:
        await self.server.connect(Access(api_key=KEY))

    async def _connect_again(self) -> None:
        try:
            await self.connect()
        except UpstreamError as error:  # of a machine that is busy
            self.errors.append(error)
            await self.connect()

    def add(self, stream: Stream, run_id: str, **more: Any) -> Stream:
        home = self.folder / stream.writer_id.hex()
        home.mkdir(exist_ok=True)
        others = witness_of(stream).writer_id, files_of(stream).writer_id
        self.queue[stream.writer_id] = QueuedRun(
            writer_id=stream.writer_id, writers=(stream.writer_id, *others), folder=home, home=home, entity="",
            project="p", run_id=run_id, branch_id=f"b-{run_id}", is_through=False, is_held=False,
            started_at=float(int.from_bytes(stream.writer_id, "big")),
        )  # fmt: skip
        self.change(stream, **more)
        return stream

    def add_artifact(
        self,
        stream: Stream,
        name: str,
        files: Mapping[str, bytes],
        *,
        aliases: Sequence[str] = (),
        refs: Mapping[str, str] = MappingProxyType({}),
    ) -> OutgoingArtifact:
        """What a trainer leaves in its run folder, on its way."""
        home = self.queue[stream.writer_id].home
        entries, contents = {}, {}
        for path, content in files.items():
            md5 = hashlib.md5(content).hexdigest()
            contents[md5] = self.folder / f"content-{md5}"
            contents[md5].write_bytes(content)
            entries[path] = Entry(path=path, digest=digest_of_md5(md5), size_bytes=len(content))
        for path, ref in refs.items():
            entries[path] = Entry(path=path, digest=ref, size_bytes=None, ref=ref)
        self.artifacts += 1
        said = LoggedArtifact(
            id=f"{self.artifacts:032x}", name=name, type="t", description="", metadata_json="{}",
            aliases=tuple(aliases), tags=(), step=4, manifest_md5=manifest_md5(entries),
        )  # fmt: skip
        place = write_artifact(home, said, entries=entries, contents=contents)
        request = LogArtifactRequest(**asdict(said), writer_id=stream.writer_id)
        return OutgoingArtifact(said=request, place=place, notes=place)

    def change(self, stream: Stream, **more: Any) -> None:
        self.queue[stream.writer_id] = replace(self.queue[stream.writer_id], **more)

    async def ship(
        self, stream: Stream, *, ends: Iterable[int] = (), last_seq: int = 0, tries: int = 20
    ) -> int:
        """Sends until all is committed; batches end at `ends`. Returns how far the server is."""
        last_seq = last_seq or stream.last_seq
        wanted = sorted({end for end in ends if 0 < end < last_seq} | {last_seq})
        through = (await self.server.cursors([stream.writer_id])).get(stream.writer_id, 0)
        for end in wanted:
            while through < end and tries:
                tries -= 1
                batch = outgoing(stream, through + 1, end)
                try:
                    reply = await self.server.push([batch])
                except UpstreamError as error:
                    self.errors.append(error)
                    await self._connect_again()
                    through = (await self.server.cursors([stream.writer_id]))[stream.writer_id]
                    continue
                cursor = reply[stream.writer_id]
                assert not cursor.gap
                if cursor.committed_through < end:  # an open row: more of it may be in the next
                    through = cursor.committed_through
                    break
                through = cursor.committed_through
        return through


def outgoing(stream: Stream, first: int, last: int) -> Outgoing:
    return Outgoing(stream.writer_id, first, last, stream.batch(first, last).frames)


def opened(number: int, run_id: str, **origin: Any) -> Stream:
    """A writer whose session has begun."""
    stream = Stream(writer_id(number))
    origin = origin or {"created": record_pb2.Created()}
    stream.opened("p", run_id, f"b-{run_id}", started_at=float(number), **origin)
    return stream


def witness_of(stream: Stream) -> Stream:
    """The daemon's own writer in the same folder."""
    return Stream(writer_id(int.from_bytes(stream.writer_id, "big") + WITNESS))


def add_line(
    stream: Stream, number: int, text: str, *, at: float = 0.0, is_error: bool = False
) -> None:
    """A console line."""
    line = record_pb2.ConsoleLine(number=number, stream=int(is_error), at=at, text=text)
    stream.record(Kind.CONSOLE, record_pb2.Console(lines=[line]))


def add_sample(stream: Stream, at: float, **values: Any) -> None:
    """A system sample."""
    sample = record_pb2.SystemSample(at=at, runtime=at - 1.0, values=json_items(values))
    stream.record(Kind.SYSTEM, record_pb2.System(samples=[sample]))


def files_of(stream: Stream) -> Stream:
    """The writer of the files in the same folder."""
    return Stream(writer_id(int.from_bytes(stream.writer_id, "big") + FILES))


def add_file(
    files: Stream, name: str, content: bytes, *, version: bytes = b"", hole: int = -1
) -> None:
    """A file in pieces of 100 bytes; the one at `hole` is missing."""
    for offset in range(0, len(content) or 1, 100):
        if offset == hole:
            continue
        piece = record_pb2.FilePiece(
            name=name, version=version or hashlib.sha256(content).digest(), size_bytes=len(content),
            offset_bytes=offset, content=content[offset : offset + 100],
        )  # fmt: skip
        files.record(Kind.FILE_PIECE, piece)
