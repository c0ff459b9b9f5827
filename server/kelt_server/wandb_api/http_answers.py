"""How the door answers requests over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kelt_server.errors import (
    BusyError,
    KeltServerError,
    NoRoomError,
    NotFoundError,
    StoreError,
    TooLargeError,
)
from kelt_server.values import to_json

_RETRY_AFTER_S = "2"


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
