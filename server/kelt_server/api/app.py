"""The HTTP application: the read API, its description, the pages, and what surrounds them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kelt_server.access.callers import NOBODY, Caller
from kelt_server.access.gate import Gate
from kelt_server.api.openapi import document
from kelt_server.api.routes import PREFIX
from kelt_server.errors import (
    BadRequestError,
    ForbiddenError,
    KeyRefusedError,
    NotFoundError,
    NotRunningError,
    RunDeletedError,
    StoreError,
)
from kelt_server.values import to_json
from kelt_server.wandb_api.artifact_addresses import PREFIX as ARTIFACTS_PREFIX
from kelt_server.wandb_api.file_addresses import PREFIX as FILES_PREFIX

#: The last two are not there: wandb's clients, which have no key for them, then stop asking.
_OPEN_PATHS = (f"{PREFIX}/info", "/sdk/otel/v1/metrics", "/sdk/otel/v1/logs")
_SIGNED = (f"/{FILES_PREFIX}/", f"/{ARTIFACTS_PREFIX}/")
_READING = ("GET", "HEAD", "OPTIONS")
_STATUS: dict[type[Exception], int] = {
    BadRequestError: 400,
    ForbiddenError: 403,
    NotFoundError: 404,
    NotRunningError: 409,
    RunDeletedError: 404,
    StoreError: 503,
}


def build_app(
    *,
    api_routes: Sequence[Route],
    page_routes: Sequence[Route],
    more_routes: Sequence[Route] = (),
    gate: Gate,
) -> Starlette:
    """The application. Where keys are wanted, everything but `/api/v1/info` wants one."""
    described = Response(to_json(document()), media_type="application/json")

    def openapi(_request: Request) -> Response:
        return described

    return Starlette(
        routes=[*api_routes, Route("/openapi.json", openapi), *more_routes, *page_routes],
        middleware=[Middleware(GateMiddleware, gate=gate)],
        exception_handlers={
            **dict.fromkeys(_STATUS, _explain),
            404: _no_route,
            405: _no_route,
            500: _our_mistake,
        },
    )


class GateMiddleware:
    """Lets in whom the gate admits, and says who it is (`asking.caller_of`).

    A page of another site can have a browser send the key that it remembers. So what changes
    something is refused where the browser says that it comes from elsewhere.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http" or scope["path"].startswith(_SIGNED):
            await self._app(scope, receive, send)  # these addresses carry their own key
            return
        request = Request(scope)
        caller, refusal = self._admitted(request)
        scope.setdefault("state", {})["caller"] = caller
        if refusal is None or scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _admitted(self, request: Request) -> tuple[Caller, Response | None]:
        try:
            caller = self._gate.admit(request.headers.get("authorization", ""))
        except KeyRefusedError as error:
            return NOBODY, _key_wanted(error)
        except StoreError as error:
            return NOBODY, _sentence(str(error), 503)
        return caller, _refusal_of_origin(request)


def _key_wanted(error: KeyRefusedError) -> Response:
    sentence = (
        f"this server wants a key and was given {error.given}: send `Authorization: Bearer KEY` "
        "(kelt reads KELT_API_KEY, wandb WANDB_API_KEY)"
    )
    both = {"error": sentence, "errors": [{"message": sentence}]}  # as GraphQL has it
    response = Response(to_json(both), status_code=401, media_type="application/json")
    response.headers["WWW-Authenticate"] = 'Basic realm="kelt"'  # browsers ask for this alone
    return response


def _refusal_of_origin(request: Request) -> Response | None:
    origin = request.headers.get("origin")
    if request.method in _READING or origin is None:
        return None
    if origin.partition("://")[2] == request.headers.get("host"):
        return None
    return _sentence(f"a page of {origin[:200]} cannot change anything here", 403)


def _explain(_request: Request, error: Exception) -> Response:
    return _sentence(str(error), _STATUS[type(error)])


def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return _sentence(
        f"there is no {request.method} {request.url.path} here; /openapi.json lists what there is",
        status,
    )


def _our_mistake(_request: Request, error: Exception) -> Response:
    structlog.get_logger("kelt_server.http").error("a question failed", exc_info=error)
    return _sentence("the server made a mistake; its log says more", 500)


def _sentence(sentence: str, status: int) -> Response:
    return Response(to_json({"error": sentence}), status_code=status, media_type="application/json")
