"""Bodies of requests, read whole within bounds, and unpacked where they come as gzip.

A body over its bound is read to its end and let go, so that its sender hears the answer. What all
requests hold at a time is bounded too; who comes beyond is told to come later.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.requests import ClientDisconnect, Request

from kelt_server.counters import Counters
from kelt_server.errors import BusyError

#: A sender of so much is no client.
_READ_BYTES_MAX = 2**40
#: As long as clients wait for one post.
_BODY_S = 180.0
_GZIP = ("gzip", "x-gzip")
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


class BadBodyError(Exception):
    """Why a body cannot be had, in words."""


class BodyReader:
    """Reads bodies; what it holds of them, until each is answered, is bounded.

    Args:
        held_bytes_max: of all bodies together.
        counters: those that are told to come later are counted there.
    """

    def __init__(self, *, held_bytes_max: int, counters: Counters) -> None:
        self._held_bytes_max = held_bytes_max
        self._counters = counters
        self._held_bytes = 0

    @asynccontextmanager
    async def body(self, request: Request, bytes_max: int) -> AsyncIterator[bytes]:
        """All of a body, counted as held within the context.

        Raises:
            BadBodyError: it takes more than the bound, or is not what its head says.
            BusyError: others hold too much at this moment, or it does not come.
        """
        body = _Body(request.headers.get("content-encoding", ""), bytes_max)
        held = 0
        try:
            with anyio.move_on_after(_BODY_S) as deadline:
                async for size_bytes in self._pieces(request, body):
                    self._held_bytes += size_bytes - held
                    held = size_bytes
                    if self._held_bytes > self._held_bytes_max:
                        self._counters.posts_refused_busy += 1
                        raise BusyError(f"posts of {self._held_bytes_max} bytes are being taken")
            if deadline.cancelled_caught:
                raise BusyError(f"a post did not come whole within {_BODY_S:.0f} s")
            yield body.whole()
        finally:
            self._held_bytes -= held

    @staticmethod
    async def _pieces(request: Request, body: _Body) -> AsyncIterator[int]:
        """How much is held, after each piece."""
        read = 0
        async for chunk in request.stream():
            read += len(chunk)
            if read > _READ_BYTES_MAX:
                raise ClientDisconnect
            body.take(chunk)
            yield len(body.content)


class _Body:
    """Mutable state: what has come of one body, unpacked."""

    def __init__(self, encoding: str, bytes_max: int) -> None:
        self.content = bytearray()
        self._bytes_max = bytes_max
        self._fault = ""
        self._unpacker = None
        if encoding.lower() in _GZIP:
            self._unpacker = zlib.decompressobj(_WITH_GZIP_HEADER)
        elif encoding.lower() not in ("", "identity"):
            self._fault = f"a body packed as {encoding[:40]!r}; gzip is known"

    def take(self, chunk: bytes) -> None:
        if self._fault:
            return
        try:
            self._add(chunk)
        except zlib.error as error:
            self._fault = f"a body that is no gzip: {error}"
        if len(self.content) > self._bytes_max:
            self._fault = f"a body of more than {self._bytes_max} bytes"
        if self._fault:
            self.content.clear()

    def whole(self) -> bytes:
        if not self._fault and self._unpacker is not None and not self._unpacker.eof:
            self._fault = "a body of gzip that ends early"
        if self._fault:
            raise BadBodyError(self._fault)
        return bytes(self.content)

    def _add(self, chunk: bytes) -> None:
        if self._unpacker is None:
            self.content += chunk
            return
        # One byte more than may be shows that it is too much; a bomb is never unpacked further.
        room = self._bytes_max + 1 - len(self.content)
        self.content += self._unpacker.decompress(chunk, max(1, room))
