"""The routes that wandb's clients use.

Answers to `file_stream` are 200, or 503 with Retry-After: clients take most others as the end of
the stream for the rest of the run. So only what is refused for good is answered with one: 401 and
403 where the key does not open the run's entity, 404 where the run was deleted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

import anyio
import anyio.from_thread
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from kelt_server.access.callers import Caller
from kelt_server.api.asking import caller_of
from kelt_server.artifacts import ArtifactLibrary
from kelt_server.branch_names import Name
from kelt_server.errors import (
    BadRequestError,
    BusyError,
    ForbiddenError,
    KeltServerError,
    NotFoundError,
    RunDeletedError,
    StoreError,
)
from kelt_server.ingest.group import Counters
from kelt_server.reader import RunReader
from kelt_server.run_actions import RunActions
from kelt_server.wandb_api import file_addresses
from kelt_server.wandb_api.answers import NAME_CHARS_MAX, Answers
from kelt_server.wandb_api.artifact_addresses import ArtifactAddresses
from kelt_server.wandb_api.artifact_changes import ArtifactChanges
from kelt_server.wandb_api.artifact_routes import ArtifactRoutes
from kelt_server.wandb_api.bodies import BadBodyError, BodyReader
from kelt_server.wandb_api.door import Door
from kelt_server.wandb_api.executing import execute_document
from kelt_server.wandb_api.file_addresses import FileAddresses
from kelt_server.wandb_api.http_answers import (
    chunks,
    errors,
    json_answer,
    keyless,
    later,
    refusal,
)
from kelt_server.wandb_api.posts import read_post, with_bad_line
from kelt_server.wandb_api.signing import AddressSigner, path_parts
from kelt_server.wandb_api.uploads import UploadFolder

_POST_BYTES_MAX = 64 * 2**20
_DOCUMENT_BYTES_MAX = 32 * 2**20
#: Of posts and documents together, that are being read or answered.
_BODIES_BYTES_MAX = 256 * 2**20
_QUESTIONS_MAX = 16
#: A client's id as it is kept; another is kept as its digest.
_CLIENT = re.compile(r"[0-9A-Za-z-]{1,64}")
_BYTES = "application/octet-stream"


class WandbApi:
    """Answers wandb's clients."""

    def __init__(
        self,
        *,
        door: Door,
        actions: RunActions,
        reader: RunReader,
        uploads: UploadFolder,
        signer: AddressSigner,
        times_deleted: Callable[[Name], int],
        library: ArtifactLibrary,
        counters: Counters,
    ) -> None:
        self._door = door
        self._actions = actions
        self._of_all = reader
        self._uploads = uploads
        self._signer = signer
        self._addresses = FileAddresses(signer, times_deleted)
        self._library = library
        # Of their own: each may wait for the door, which needs threads too.
        self._questions = anyio.CapacityLimiter(_QUESTIONS_MAX)
        self._bodies = BodyReader(held_bytes_max=_BODIES_BYTES_MAX, counters=counters)

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route("/graphql", self.graphql, methods=["POST"]),
            Route(
                "/files/{entity}/{project}/{run}/file_stream", self.file_stream, methods=["POST"]
            ),
            Route("/files/{path:path}", self.keyed_file, methods=["GET"]),
            Route(f"/{file_addresses.PREFIX}/{{path:path}}", self.put_file, methods=["PUT"]),
            Route(f"/{file_addresses.PREFIX}/{{path:path}}", self.get_file, methods=["GET"]),
            *ArtifactRoutes(library=self._library, signer=self._signer).routes(),
        ]

    async def graphql(self, request: Request) -> Response:
        """One document."""
        if "authorization" not in request.headers:
            return keyless()
        client = _client(request, "x-wandb-client-id")
        answers = self._answers(caller_of(request), str(request.base_url).rstrip("/"), client)
        try:
            async with self._bodies.body(request, _DOCUMENT_BYTES_MAX) as body:
                return await anyio.to_thread.run_sync(
                    _execute, body, answers, limiter=self._questions
                )
        except (StoreError, BusyError) as error:
            return later(error)
        except ForbiddenError as error:
            return errors(str(error), status=403)
        except (BadBodyError, BadRequestError) as error:
            return errors(str(error))

    def _answers(self, caller: Caller, base: str, client: str) -> Answers:
        artifacts = ArtifactChanges(
            library=self._library,
            addresses=ArtifactAddresses(self._signer, base, caller.key_id),
            caller=caller,
            check_begun=lambda run: anyio.from_thread.run(self._door.check_begun, run),
        )
        return Answers(
            door=self._door,
            actions=self._actions,
            reader=self._of_all.seen_by(caller),
            uploads=self._uploads,
            addresses=self._addresses,
            artifacts=artifacts,
            caller=caller,
            base=base,
            client=client,
        )

    async def file_stream(self, request: Request) -> Response:
        """One post of a run's stream."""
        if "authorization" not in request.headers:
            return keyless()
        given = request.path_params
        name: Name = (given["entity"], given["project"], given["run"])
        if any(len(part) > NAME_CHARS_MAX for part in name):
            return errors("names of this length are none")
        try:
            name = (caller_of(request).check(name[0]), *name[1:])
            must_stop = await self._take(name, request)
        except (StoreError, BusyError, ForbiddenError, RunDeletedError) as error:
            return refusal(error)
        return json_answer({"stopped": True} if must_stop else {})

    async def _take(self, name: Name, request: Request) -> bool:
        client = _client(request, "x-wandb-async-client-id")
        try:
            async with self._bodies.body(request, _POST_BYTES_MAX) as body:
                post = await anyio.to_thread.run_sync(read_post, body)
                return await self._door.take(name, post, client)
        except BadBodyError as error:
            post = with_bad_line(f"a post that cannot be had: {error}")
            return await self._door.take(name, post, client)

    async def put_file(self, request: Request) -> Response:
        """A file, at an address that this server signed."""
        try:
            name, file = self._opened(request)
            await self._uploads.put(name, file, chunks(request))
        except KeltServerError as error:
            return refusal(error)
        return Response(status_code=200)

    async def get_file(self, request: Request) -> Response:
        """Likewise back."""
        try:
            name, file = self._opened(request)
            return await anyio.to_thread.run_sync(self._content, self._of_all, name, file)
        except KeltServerError as error:
            return refusal(error)

    async def keyed_file(self, request: Request) -> Response:
        """A file, for a caller whose key opens the entity."""
        caller = caller_of(request)
        try:
            name, file = file_addresses.named_by(path_parts(request))
            name = (caller.check(name[0]), *name[1:])
            reader = self._of_all.seen_by(caller)
            return await anyio.to_thread.run_sync(self._content, reader, name, file)
        except KeltServerError as error:
            return refusal(error)

    def _content(self, reader: RunReader, name: Name, file: str) -> Response:
        """What a client put, or else what came as records."""
        try:
            return FileResponse(self._uploads.found(name, file), media_type=_BYTES)
        except NotFoundError:
            _, content = reader.files.content(name, file)
            return StreamingResponse(content, media_type=_BYTES)

    def _opened(self, request: Request) -> tuple[Name, str]:
        parts, query = path_parts(request), request.query_params
        return self._addresses.opened(request.method, parts, query)


def _execute(body: bytes, answers: Answers) -> Response:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the question is not JSON: {error}") from error
    if not isinstance(said, dict) or not isinstance(said.get("query"), str):
        raise BadRequestError("the question has no query")
    variables, operation = said.get("variables"), said.get("operationName")
    return json_answer(
        execute_document(
            said["query"],
            variables if isinstance(variables, dict) else {},
            operation if isinstance(operation, str) else None,
            answers,
        )
    )


def _client(request: Request, header: str) -> str:
    """Which of the writers of a shared run asks; empty for all others."""
    said = request.headers.get(header, "")
    is_shared = request.headers.get("x-wandb-use-async-filestream", "").lower() == "true"
    if not said or not is_shared:
        return ""
    if _CLIENT.fullmatch(said):
        return said
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
