"""The HTTP application: the read API, its description, the pages, and what surrounds them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kelt_server.api.openapi import document
from kelt_server.api.routes import PREFIX
from kelt_server.errors import BadRequestError, NotFoundError, StoreError
from kelt_server.ingest.service import key_matches
from kelt_server.values import to_json
from kelt_server.wandb_api.artifact_addresses import PREFIX as ARTIFACTS_PREFIX
from kelt_server.wandb_api.uploads import PREFIX as FILES_PREFIX

_OPEN_PATHS = (f"{PREFIX}/info",)
_STATUS: dict[type[Exception], int] = {
    BadRequestError: 400,
    NotFoundError: 404,
    StoreError: 503,
}


def build_app(
    *,
    api_routes: Sequence[Route],
    page_routes: Sequence[Route],
    more_routes: Sequence[Route] = (),
    api_key: str,
) -> Starlette:
    """The application. With a key, everything but `/api/v1/info` wants it."""
    described = Response(to_json(document()), media_type="application/json")

    def openapi(_request: Request) -> Response:
        return described

    return Starlette(
        routes=[*api_routes, Route("/openapi.json", openapi), *more_routes, *page_routes],
        middleware=[Middleware(KeyMiddleware, api_key=api_key)] if api_key else [],
        exception_handlers={
            **dict.fromkeys(_STATUS, _explain),
            404: _no_route,
            405: _no_route,
            500: _our_mistake,
        },
    )


class KeyMiddleware:
    """Lets in who has the key: as a bearer token, or as the password of a browser's question."""

    def __init__(self, app: ASGIApp, *, api_key: str) -> None:
        self._app = app
        self._api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = Request(scope).headers.get("authorization", "")
        if key_matches(_as_bearer(given), self._api_key):
            await self._app(scope, receive, send)
            return
        what = "another one" if given else "none"
        sentence = (
            f"this server wants a key and was given {what}: "
            "send `Authorization: Bearer KEY` (kelt reads KELT_API_KEY)"
        )
        response = Response(
            to_json({"error": sentence}),
            status_code=401,
            media_type="application/json",
            headers={"WWW-Authenticate": 'Basic realm="kelt"'},  # browsers ask for this alone
        )
        await response(scope, receive, send)


def _is_open(path: str) -> bool:
    """Whether it wants no key; addresses of files carry their own."""
    return path in _OPEN_PATHS or path.startswith((f"{FILES_PREFIX}/", f"{ARTIFACTS_PREFIX}/"))


def _as_bearer(given: str) -> str:
    """What a browser sends after asking: the key as password, the name is not looked at."""
    scheme, _, encoded = given.partition(" ")
    if scheme.lower() != "basic":
        return given
    try:
        _, _, password = base64.b64decode(encoded).decode().partition(":")
    except ValueError:
        return ""
    return f"Bearer {password}"


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
