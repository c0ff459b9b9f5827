"""Bodies of requests, read whole within bounds, and unpacked where they come as gzip.

A body over its bound is read to its end and let go, so that its sender hears the answer. What all
requests hold at a time is bounded too; who comes beyond is told to come later.
"""

from __future__ import annotations

import zlib

from starlette.requests import ClientDisconnect, Request

from kelt_server.errors import BusyError

#: What unread bodies may take together.
HELD_BYTES_MAX = 512 * 2**20
#: A sender of so much is no client.
_READ_BYTES_MAX = 2**40
_GZIP = ("gzip", "x-gzip")
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


class BadBodyError(Exception):
    """Why a body cannot be had, in words."""


class BodyReader:
    """Mutable state: how many bytes are held at this moment."""

    def __init__(self, *, held_bytes_max: int = HELD_BYTES_MAX) -> None:
        self._held_bytes_max = held_bytes_max
        self._held_bytes = 0

    async def read(self, request: Request, bytes_max: int) -> bytes:
        """All of a body.

        Raises:
            BadBodyError: it takes more than the bound, or is not what its head says.
            BusyError: others hold too much at this moment.
        """
        body = _Body(request.headers.get("content-encoding", ""), bytes_max)
        held, read = 0, 0
        try:
            async for chunk in request.stream():
                read += len(chunk)
                if read > _READ_BYTES_MAX:
                    raise ClientDisconnect
                body.take(chunk)
                self._held_bytes += len(body.content) - held
                held = len(body.content)
                if self._held_bytes > self._held_bytes_max:
                    raise BusyError("other posts are being read; send it again later")
            return body.whole()
        finally:
            self._held_bytes -= held


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
