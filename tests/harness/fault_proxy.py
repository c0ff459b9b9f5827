"""A TCP proxy on loopback whose faults are switched while it runs, in a thread of its own.

Faults are a `Toxic`, in force from `set` on for connections old and new, until `heal`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field

_CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Toxic:
    """What goes wrong. `up` is from the client to the server, `down` the way back."""

    #: Nobody listens.
    refuse: bool = False
    #: Connections are accepted, and reset at once (RST).
    reset: bool = False
    #: Connections are accepted, and nothing comes or goes: a half-open connection.
    blackhole: bool = False
    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    #: Reset once so many bytes went through, in the middle of whatever it is.
    cut_up_after: int | None = None
    cut_down_after: int | None = None
    #: The server's side says that it is done, while the client may go on.
    half_close: bool = False
    #: What the client sends arrives; the answers do not.
    swallow_replies: bool = False


@dataclass(eq=False)
class _Connection:
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    up_bytes: int = 0
    down_bytes: int = 0

    def abort(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                raw = writer.get_extra_info("socket")
                if raw is not None:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class FaultProxy:
    """Stands before a port.

    Args:
        target_port: on this host; may be changed by `retarget`.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.accepted = 0
        self._toxic = Toxic()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def set(self, **toxic) -> None:
        """Puts faults in force, instead of those before."""
        self._call(self._apply(Toxic(**toxic)))

    def set_from_elsewhere(self, **toxic) -> None:
        """As `set`, without waiting: for other event loops."""
        asyncio.run_coroutine_threadsafe(self._apply(Toxic(**toxic)), self._loop)

    def heal(self) -> None:
        self.set()

    def sever(self) -> None:
        """Resets all connections, once."""
        self._call(self._sever())

    def retarget(self, port: int) -> None:
        self.target_port = port

    def _call(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    # -- in the loop -----------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _apply(self, toxic: Toxic) -> None:
        self._toxic = toxic
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for connection in self._connections:
            connection.up_bytes = connection.down_bytes = 0
        if toxic.refuse and self._server is not None:
            self._server.close()
            self._server = None
        if not toxic.refuse and self._server is None:
            await self._listen()
        if toxic.refuse or toxic.reset:
            await self._sever()
        if toxic.half_close:
            for connection in list(self._connections):
                with contextlib.suppress(OSError, RuntimeError):
                    connection.writers[0].write_eof()

    async def _sever(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._sever()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self.accepted += 1
        connection = _Connection([writer])
        self._connections.add(connection)
        try:
            if self._toxic.reset:
                return
            await self._hold()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            connection.writers.append(far_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer, connection, is_up=True)),
                asyncio.create_task(self._pump(far_reader, writer, connection, is_up=False)),
            ]
            try:
                await asyncio.gather(*pumps)
            finally:
                for pump in pumps:
                    pump.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _hold(self) -> None:
        while self._toxic.blackhole:
            await self._changed.wait()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        *,
        is_up: bool,
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._hold()
            toxic = self._toxic
            if toxic.latency_s:
                await asyncio.sleep(toxic.latency_s)
            if toxic.bytes_per_s:
                await asyncio.sleep(len(data) / toxic.bytes_per_s)
            if toxic.swallow_replies and not is_up:
                continue
            limit = toxic.cut_up_after if is_up else toxic.cut_down_after
            passed = connection.up_bytes if is_up else connection.down_bytes
            if limit is not None and passed + len(data) > limit:
                writer.write(data[: max(0, limit - passed)])
                with contextlib.suppress(OSError):
                    await writer.drain()
                connection.abort()
                return
            if is_up:
                connection.up_bytes += len(data)
            else:
                connection.down_bytes += len(data)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
