"""Files and artifacts of runs, as the package's page describes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from kelt_server.api import arguments
from kelt_server.api.asking import caller_of
from kelt_server.api.content_types import BYTES, HEADERS, content_type
from kelt_server.api.routes import PREFIX, RUN, run_of
from kelt_server.artifacts import ArtifactLibrary, names, queries
from kelt_server.artifacts.records import DELETED, Artifact, ArtifactFile
from kelt_server.branch_names import Name
from kelt_server.errors import NotFoundError
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.reader import RunReader
from kelt_server.values import plain, to_json

FILES_MAX = 10_000
ARTIFACT = "/artifacts/{entity}/{project}/{name}"


class FileApi:
    """Answers questions about files."""

    def __init__(self, *, reader: RunReader, files: FilesOfRuns, library: ArtifactLibrary) -> None:
        self._of_all = reader
        self._files = files
        self._library = library

    def _reader(self, request: Request) -> RunReader:
        return self._of_all.seen_by(caller_of(request))

    def routes(self) -> list[Route]:
        """Every route, in the order in which they are tried."""
        table: list[tuple[str, Callable[[Request], Response]]] = [
            (f"{RUN}/files", self.files),
            (f"{RUN}/files/{{path:path}}", self.file),
            (f"{RUN}/artifacts", self.artifacts_of_run),
            (ARTIFACT, self.artifact),
            (f"{ARTIFACT}/files/{{path:path}}", self.file_of_artifact),
        ]
        getting = [
            Route(PREFIX + path, handler, methods=["GET"], name=handler.__name__)
            for path, handler in table
        ]
        used = f"{PREFIX}{RUN}/uses/{{of_entity}}/{{of_project}}/{{name}}"
        return [*getting, Route(used, self.use, methods=["POST"], name="use")]

    def files(self, request: Request) -> Response:
        """The files of a run."""
        recorded = self._reader(request).files
        found = self._files.all(recorded, self._holder(request), run_of(request))
        return _page(request, list(map(asdict, found)))

    def file(self, request: Request) -> Response:
        """What is in one."""
        path = request.path_params["path"]
        recorded = self._reader(request).files
        found = self._files.content(recorded, self._holder(request), run_of(request), path)
        kind = content_type(path)
        if isinstance(found, Path):
            return FileResponse(found, media_type=kind, headers=HEADERS)
        return StreamingResponse(found, media_type=kind, headers=HEADERS)

    def artifacts_of_run(self, request: Request) -> Response:
        """What a run logged and used."""
        run = self._run(request)
        with self._library.reading() as reading:
            both = queries.logged_by(reading, run), queries.used_by_run(reading, run)
        may = caller_of(request).may
        logged, used = (
            [artifact_json(item) for item in found if may(item.collection.entity)] for found in both
        )
        return _json({"logged": logged, "used": used})

    def artifact(self, request: Request) -> Response:
        """One version, with its files."""
        found = self._version_asked(request)
        offset, limit = _offset(request), _limit(request)
        with self._library.reading() as reading:
            files = queries.files(reading, found.id, offset=offset, limit=limit)
            users = queries.users_of(reading, found.id)
            seen: dict[int, Artifact | None] = {}
            files_json = [
                _file(file, self._referred(request, reading, file, seen)) for file in files
            ]
        used_by = [run for run in users if caller_of(request).may(run[0])]
        return _json(
            {
                **artifact_json(found),
                "used_by": [_run_named(run) for run in used_by],
                "files": files_json,
            }
        )

    def use(self, request: Request) -> Response:
        """A run uses a version; the run may be on its way still."""
        asked = request.path_params
        run = (caller_of(request).check(asked["entity"]), asked["project"], asked["run"])
        found = self._version(request, asked["of_entity"], asked["of_project"])
        return _json(artifact_json(self._library.use(found.id, run, "")))

    def file_of_artifact(self, request: Request) -> Response:
        """What is in one of its files."""
        found, path = self._version_asked(request), request.path_params["path"]
        with self._library.reading() as reading:
            files = queries.files(
                reading, found.id, paths=[path] if names.is_storable(path) else []
            )
        if not files:
            raise NotFoundError(f"{found.name} has no file {path[:100]!r}")
        with self._library.reading() as reading:
            if files and (of := self._referred(request, reading, files[0], {})):
                found, path = of
                files = queries.files(reading, found.id, paths=[path])
        if not files:
            raise NotFoundError(f"{path[:100]!r} is not in {found.name}, to which it refers")
        if files[0].ref:
            raise NotFoundError(f"{path[:100]!r} is kept elsewhere: {files[0].ref}")
        stored = self._library.blobs.blob(found.collection.entity, files[0].md5)
        if not stored.is_file():
            raise NotFoundError(f"the file {path[:100]!r} of {found.name} is gone")
        return FileResponse(stored, media_type=BYTES)

    def _run(self, request: Request) -> Name:
        asked = request.path_params
        run = self._reader(request).run(asked["entity"], asked["project"], asked["run"]).as_json()
        return run["entity"], run["project"], run["run_id"]

    def _holder(self, request: Request) -> Name | None:
        """The name of the run, where it is what holds it."""
        view = self._reader(request).run(*run_of(request))
        branch = view.line.branch
        return branch.name if view.held_by == branch.branch_id else None

    def _referred(
        self,
        request: Request,
        reading: Connection,
        file: ArtifactFile,
        seen: dict[int, Artifact | None],
    ) -> tuple[Artifact, str] | None:
        """Version and path that a reference leads to, if that is open to who asks."""
        if (said := names.referred(file.ref)) is None:
            return None
        number, path = said
        if number not in seen:
            seen[number] = queries.artifact(reading, number)
        found = seen[number]
        if found is None or found.state == DELETED:
            return None
        return (found, path) if caller_of(request).may(found.collection.entity) else None

    def _version_asked(self, request: Request) -> Artifact:
        return self._version(request, request.path_params["entity"], request.path_params["project"])

    def _version(self, request: Request, entity: str, project: str) -> Artifact:
        return version_asked(self._library, request, entity, project)


def version_asked(
    library: ArtifactLibrary, request: Request, entity: str, project: str
) -> Artifact:
    """The version that a route names.

    Raises:
        NotFoundError: there is none.
        ForbiddenError: it is another's.
    """
    asked = request.path_params
    entity = caller_of(request).check(entity)
    collection, alias = names.split_name(asked["name"])
    found = None
    if all(map(names.is_storable, (entity, project, collection, alias))):
        with library.reading() as reading:
            of = queries.collection(reading, entity, project, collection)
            found = None if of is None else queries.version(reading, of, alias)
    if found is None:
        raise NotFoundError(f"there is no artifact {asked['name'][:100]!r} in this project")
    return found


def artifact_json(found: Artifact) -> dict[str, Any]:
    """An ARTIFACT."""
    of = found.collection
    return {
        "id": names.encode_id("Artifact", found.id),
        "entity": of.entity,
        "project": of.project,
        "name": of.name,
        "type": of.type,
        "version": f"v{found.version}",
        "aliases": list(found.aliases),
        "tags": list(found.tags),
        "state": found.state,
        "digest": found.digest,
        "description": found.description,
        "metadata": plain(json.loads(found.metadata or "{}")),
        "size_bytes": found.size_bytes,
        "file_count": found.file_count,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "ttl_s": found.ttl_s,
        "logged_by": None if found.logged_by is None else _run_named(found.logged_by),
    }


def _run_named(run: Name) -> dict[str, str]:
    return dict(zip(("entity", "project", "run_id"), run, strict=True))


def _file(file: ArtifactFile, of: tuple[Artifact, str] | None) -> dict[str, Any]:
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "digest": file.digest,
        "ref": file.ref or None,
        "of": of and {"artifact": _full_name(of[0]), "path": of[1]},
    }


def _full_name(found: Artifact) -> str:
    return f"{found.collection.entity}/{found.collection.project}/{found.name}"


def _page(request: Request, found: list[dict[str, Any]]) -> Response:
    offset = _offset(request)
    return _json({"files": found[offset : offset + _limit(request)], "total": len(found)})


def _offset(request: Request) -> int:
    arguments.known(request.query_params, ("offset", "limit"))
    return arguments.whole(request.query_params, "offset", 0, lowest=0, highest=2**53)


def _limit(request: Request) -> int:
    return arguments.whole(request.query_params, "limit", 1000, lowest=0, highest=FILES_MAX)


def _json(document: Any) -> Response:
    return Response(to_json(document), media_type="application/json")
