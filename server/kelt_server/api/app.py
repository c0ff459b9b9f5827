"""The HTTP application: the read API, its description, the pages, and what surrounds them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
#: Names that nobody can buy; host.docker.internal is one.
_NOBODYS = (".localhost", ".local", ".internal", ".test")
_ELSEWHERE = (
    "this server wants no key and listens on this machine alone, so it is asked as localhost or "
    "127.0.0.1 only, as pages of other sites could use any other name; with a user (`kelt server "
    "user add`) or a key (KELT_SERVER_API_KEY) every name will do"
)
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
    is_local: bool = False,
) -> Starlette:
    """The application. Where keys are wanted, everything but `/api/v1/info` wants one.

    Args:
        api_routes: of the read API.
        page_routes: of the pages.
        more_routes: of wandb's clients.
        gate: lets in.
        is_local: whether this machine alone can reach the server.
    """
    described = Response(to_json(document()), media_type="application/json")

    def openapi(_request: Request) -> Response:
        return described

    return Starlette(
        routes=[*api_routes, Route("/openapi.json", openapi), *more_routes, *page_routes],
        middleware=[Middleware(GateMiddleware, gate=gate, is_local=is_local)],
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
    something is refused where the browser says that it comes from elsewhere. It can also have its
    own name lead to this machine, and is then no other site. So a server that wants no key, as
    nobody else reaches it, answers to names that are this machine's alone.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, is_local: bool) -> None:
        self._app = app
        self._gate = gate
        self._is_local = is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        send = _as_what_it_is(send)
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
        if self._is_local and not self._gate.wants_key() and not _is_of_this_machine(request):
            return NOBODY, _sentence(_ELSEWHERE, 403)
        return caller, _refusal_of_origin(request)


def _as_what_it_is(send: Send) -> Send:
    """Has browsers take nothing that users stored for a page or a script."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"x-content-type-options", b"nosniff")]
            message = {**message, "headers": headers}
        await send(message)

    return sending


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


def _is_of_this_machine(request: Request) -> bool:
    """Whether the name by which the server was asked cannot be somebody else's."""
    try:
        name = (request.url.hostname or "").rstrip(".").lower()
        if "." not in name or name.endswith(_NOBODYS) or name == socket.gethostname().lower():
            return True
        ip_address(name)
    except ValueError:  # it is neither a name nor an address
        return False
    return True


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
