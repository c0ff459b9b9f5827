"""How the door answers requests over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kelt_server.errors import (
    BusyError,
    ForbiddenError,
    KeltServerError,
    NoRoomError,
    NotFoundError,
    RunDeletedError,
    StoreError,
    TooLargeError,
)
from kelt_server.values import to_json

_RETRY_AFTER_S = "2"
_STATUS: tuple[tuple[type[KeltServerError], int], ...] = (
    (NotFoundError, 404),
    (RunDeletedError, 404),
    (ForbiddenError, 403),
    (TooLargeError, 413),
    (NoRoomError, 413),  # clients would repeat for a quarter of an hour what is answered with 507
)


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """A body as it comes."""
    async for chunk in request.stream():
        yield chunk


def json_answer(document: Any, *, status: int = 200) -> Response:
    """A document."""
    return Response(to_json(document), status_code=status, media_type="application/json")


def errors(sentence: str, *, status: int = 200) -> Response:
    """Of a question in GraphQL, to which there is no answer."""
    return json_answer({"data": None, "errors": [{"message": sentence}]}, status=status)


def keyless() -> Response:
    """Clients always send a key; what a page in somebody's browser posts here has none."""
    return _error("a key is wanted, as wandb's clients send it; without users any one will do", 401)


def later(error: KeltServerError) -> Response:
    """It is to be asked again."""
    response = _error(str(error), 503)
    response.headers["Retry-After"] = _RETRY_AFTER_S
    return response


def refusal(error: KeltServerError) -> Response:
    """Why something is not taken, or not given."""
    if isinstance(error, StoreError | BusyError):
        return later(error)
    codes = [code for kind, code in _STATUS if isinstance(error, kind)]
    return _error(str(error), codes[0] if codes else 400)


def _error(sentence: str, status: int) -> Response:
    return json_answer({"error": sentence}, status=status)
