"""Who asks, as the gate in front of the application found out, and what they say."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from kelt_server.access.callers import Caller
from kelt_server.errors import BadRequestError

_BODY_BYTES_MAX = 64 * 1024


def caller_of(request: Request) -> Caller:
    """Who asks; of an open path perhaps nobody who was let in, to whom nothing is open."""
    caller: Caller = request.state.caller
    return caller


async def said_in(
    request: Request, known: tuple[str, ...], *, bytes_max: int = _BODY_BYTES_MAX
) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises:
        BadRequestError: it is none, is too large, or has a name that is not known.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise BadRequestError(f"a body of more than {bytes_max} bytes is none of ours")
    try:
        said = json.loads(bytes(body) or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise BadRequestError("the body is no JSON object")
    for name in said:
        if name not in known:
            raise BadRequestError(f"there is no {name!r} here; known are {', '.join(known)}")
    return said
