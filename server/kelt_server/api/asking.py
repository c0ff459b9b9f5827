"""Who asks, as the gate in front of the application found out."""

from __future__ import annotations

from starlette.requests import Request

from kelt_server.access.callers import Caller


def caller_of(request: Request) -> Caller:
    """Who asks; of an open path perhaps nobody who was let in, to whom nothing is open."""
    caller: Caller = request.state.caller
    return caller
