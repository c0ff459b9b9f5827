"""The routes that wandb's clients use.

Answers to `file_stream` are 200, or 503 with Retry-After: clients take most others as the end of
the stream for the rest of the run. So only what is refused for good is answered with one: 401 and
403 where the key does not open the run's entity, 404 where the run was deleted.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from kelt_server.api.asking import caller_of
from kelt_server.branch_names import Name
from kelt_server.errors import (
    BadRequestError,
    BusyError,
    ForbiddenError,
    KeltServerError,
    NotFoundError,
    RunDeletedError,
    StoreError,
    TooLargeError,
)
from kelt_server.reader import RunReader
from kelt_server.run_actions import RunActions
from kelt_server.values import to_json
from kelt_server.wandb_api import uploads
from kelt_server.wandb_api.answers import NAME_CHARS_MAX, Answers
from kelt_server.wandb_api.door import Door
from kelt_server.wandb_api.executing import execute_document
from kelt_server.wandb_api.posts import read_post, with_bad_line
from kelt_server.wandb_api.uploads import UploadFolder

_POST_BYTES_MAX = 64 * 2**20
_DOCUMENT_BYTES_MAX = 32 * 2**20
_RETRY_AFTER_S = "2"
_QUESTIONS_MAX = 16
_SPILL_BYTES = 2**40
_STATUS: tuple[tuple[type[KeltServerError], int], ...] = (
    (NotFoundError, 404),
    (RunDeletedError, 404),
    (ForbiddenError, 403),
    (TooLargeError, 413),
)


class WandbApi:
    """Answers wandb's clients."""

    def __init__(
        self, *, door: Door, actions: RunActions, reader: RunReader, uploads: UploadFolder
    ) -> None:
        self._door = door
        self._actions = actions
        self._of_all = reader
        self._uploads = uploads
        # Of their own: each may wait for the door, which needs threads too.
        self._questions = anyio.CapacityLimiter(_QUESTIONS_MAX)

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route("/graphql", self.graphql, methods=["POST"]),
            Route(
                "/files/{entity}/{project}/{run}/file_stream", self.file_stream, methods=["POST"]
            ),
            Route(uploads.PREFIX + "/{path:path}", self.put_file, methods=["PUT"]),
            Route(uploads.PREFIX + "/{path:path}", self.get_file, methods=["GET"]),
        ]

    async def graphql(self, request: Request) -> Response:
        """One document."""
        if "authorization" not in request.headers:
            return _keyless()
        body = await _body(request, _DOCUMENT_BYTES_MAX)
        if body is None:
            return _errors("the document is too large")
        base = str(request.base_url).rstrip("/")
        caller = caller_of(request)
        answers = Answers(
            door=self._door,
            actions=self._actions,
            reader=self._of_all.seen_by(caller),
            uploads=self._uploads,
            caller=caller,
            base=base,
        )
        try:
            return await anyio.to_thread.run_sync(_execute, body, answers, limiter=self._questions)
        except (StoreError, BusyError) as error:
            return _later(error)
        except ForbiddenError as error:
            return _errors(str(error), status=403)
        except BadRequestError as error:
            return _errors(str(error))

    async def file_stream(self, request: Request) -> Response:
        """One post of a run's stream."""
        if "authorization" not in request.headers:
            return _keyless()
        body = await _body(request, _POST_BYTES_MAX)
        if body is None:
            post = with_bad_line(f"a post of more than {_POST_BYTES_MAX} bytes")
        else:
            post = await anyio.to_thread.run_sync(read_post, body)
        given = request.path_params
        name: Name = (given["entity"], given["project"], given["run"])
        if any(len(part) > NAME_CHARS_MAX for part in name):
            return _errors("names of this length are none")
        try:
            caller_of(request).check(name[0])
            must_stop = await self._door.take(name, post)
        except (StoreError, BusyError, ForbiddenError, RunDeletedError) as error:
            return _refusal(error)
        return _json({"stopped": True} if must_stop else {})

    async def put_file(self, request: Request) -> Response:
        """A file, at an address that this server signed."""
        try:
            name, file = self._signed(request, "PUT")
            await self._uploads.put(name, file, _chunks(request))
        except KeltServerError as error:
            return _refusal(error)
        return Response(status_code=200)

    async def get_file(self, request: Request) -> Response:
        """Likewise back."""
        try:
            name, file = self._signed(request, "GET")
            path = await anyio.to_thread.run_sync(self._uploads.found, name, file)
        except KeltServerError as error:
            return _refusal(error)
        return FileResponse(path, media_type="application/octet-stream")

    def _signed(self, request: Request, method: str) -> tuple[Name, str]:
        raw = request.scope.get("raw_path") or request.url.path.encode()
        parts = raw.decode("ascii", "replace").split("?")[0].split("/")
        said = [uploads.unquoted(part) for part in parts if part][1:]
        signature = request.query_params.get("signature", "")
        if len(said) != 4:  # noqa: PLR2004 # entity, project, run, file
            raise NotFoundError("there is no such address")
        name, file = (said[0], said[1], said[2]), said[3]
        if not self._uploads.is_signed(method, name, file, signature):
            raise NotFoundError("this address was not made by this server")
        return name, file


def _execute(body: bytes, answers: Answers) -> Response:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the question is not JSON: {error}") from error
    if not isinstance(said, dict) or not isinstance(said.get("query"), str):
        raise BadRequestError("the question has no query")
    variables, operation = said.get("variables"), said.get("operationName")
    return _json(
        execute_document(
            said["query"],
            variables if isinstance(variables, dict) else {},
            operation if isinstance(operation, str) else None,
            answers,
        )
    )


async def _body(request: Request, bytes_max: int) -> bytes | None:
    """All of it; None, once it has come, where it is larger."""
    found = bytearray()
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes <= bytes_max:
            found += chunk
        else:
            found.clear()
        if size_bytes > _SPILL_BYTES:
            raise ClientDisconnect
    return bytes(found) if size_bytes <= bytes_max else None


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


def _json(document: Any, *, status: int = 200) -> Response:
    return Response(to_json(document), status_code=status, media_type="application/json")


def _errors(sentence: str, *, status: int = 200) -> Response:
    return _json({"data": None, "errors": [{"message": sentence}]}, status=status)


def _keyless() -> Response:
    """Clients always send a key; what a page in somebody's browser posts here has none."""
    sentence = "a key is wanted, as wandb's clients send it; without users any one will do"
    return Response(to_json({"error": sentence}), status_code=401, media_type="application/json")


def _later(error: KeltServerError) -> Response:
    return Response(
        to_json({"error": str(error)}),
        status_code=503,
        media_type="application/json",
        headers={"Retry-After": _RETRY_AFTER_S},
    )


def _refusal(error: KeltServerError) -> Response:
    if isinstance(error, StoreError | BusyError):
        return _later(error)
    codes = [code for kind, code in _STATUS if isinstance(error, kind)]
    return _json({"error": str(error)}, status=codes[0] if codes else 400)
