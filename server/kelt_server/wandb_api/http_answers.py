"""How the door reads requests and answers them over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kelt_server.errors import (
    BusyError,
    KeltServerError,
    NoRoomError,
    NotFoundError,
    StoreError,
    TooLargeError,
)
from kelt_server.ingest.group import Counters
from kelt_server.values import to_json

_RETRY_AFTER_S = "2"
_SPILL_BYTES = 2**40
#: As long as clients wait for one post.
_BODY_S = 180.0


class PostBudget:
    """What posts and questions that are being read or answered take in memory, all together."""

    def __init__(self, bytes_max: int, counters: Counters) -> None:
        self._bytes_max = bytes_max
        self._counters = counters
        self._taken_bytes = 0

    @asynccontextmanager
    async def body(self, request: Request, bytes_max: int) -> AsyncIterator[bytes | None]:
        """All of a body, counted while it is held; None, once it has come, where it is larger.

        Raises:
            BusyError: there is no room for it now, or it does not come.
        """
        held = bytearray()
        try:
            with anyio.move_on_after(_BODY_S) as deadline:
                size_bytes = await self._read(request, held, bytes_max)
            if deadline.cancelled_caught:
                raise BusyError(f"a post did not come whole within {_BODY_S:.0f} s")
            yield bytes(held) if size_bytes <= bytes_max else None
        finally:
            self._taken_bytes -= len(held)

    async def _read(self, request: Request, held: bytearray, bytes_max: int) -> int:
        size_bytes = 0
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > _SPILL_BYTES:
                raise ClientDisconnect
            if size_bytes > bytes_max:
                self._taken_bytes -= len(held)
                held.clear()
            elif self._taken_bytes + len(chunk) > self._bytes_max:
                self._counters.posts_refused_busy += 1
                raise BusyError(f"posts of {self._bytes_max} bytes are being taken already")
            else:
                held += chunk
                self._taken_bytes += len(chunk)
        return size_bytes


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """A body as it comes."""
    async for chunk in request.stream():
        yield chunk


def json_answer(document: Any) -> Response:
    """A document."""
    return Response(to_json(document), media_type="application/json")


def errors(sentence: str) -> Response:
    """Of a question in GraphQL, to which there is no answer."""
    return json_answer({"data": None, "errors": [{"message": sentence}]})


def keyless() -> Response:
    """Clients always send a key; what a page in somebody's browser posts here has none."""
    return _error("a key is wanted, as wandb's clients send it; without users any one will do", 401)


def later(error: KeltServerError) -> Response:
    """It is to be asked again."""
    response = _error(str(error), 503)
    response.headers["Retry-After"] = _RETRY_AFTER_S
    return response


def refusal(error: KeltServerError) -> Response:
    """What became of a file."""
    if isinstance(error, StoreError | BusyError):
        return later(error)
    status = 400
    if isinstance(error, NotFoundError):
        status = 404
    elif isinstance(error, TooLargeError | NoRoomError):
        # Clients would repeat for a quarter of an hour what is answered with 507.
        status = 413
    return _error(str(error), status)


def _error(sentence: str, status: int) -> Response:
    return Response(to_json({"error": sentence}), status_code=status, media_type="application/json")
