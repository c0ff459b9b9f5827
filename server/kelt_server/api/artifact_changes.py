"""Versions of artifacts, listed and changed, as the package's page describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kelt_server.api.asking import caller_of, said_in
from kelt_server.api.files import ARTIFACT, artifact_json, version_asked
from kelt_server.api.routes import PREFIX
from kelt_server.artifacts import ArtifactLibrary, names, queries
from kelt_server.artifacts.records import Artifact
from kelt_server.errors import BadRequestError, NotFoundError
from kelt_server.values import to_json

_COLLECTIONS = "/artifacts/{entity}/{project}"
#: As the daemon's artifacts have it, and some more.
_BODY_BYTES_MAX = 5 * 1024 * 1024
_TTL_S_MAX = 2**53
_SAID = ("description", "metadata", "tags", "ttl_s", "add_aliases", "delete_aliases")


class ArtifactChangesApi:
    """Lists and changes what is open to who asks."""

    def __init__(self, *, library: ArtifactLibrary) -> None:
        self._library = library

    def routes(self) -> list[Route]:
        """Every route."""
        table = [
            ("GET", _COLLECTIONS, self.collections),
            ("GET", f"{_COLLECTIONS}/{{name}}/versions", self.versions),
            ("PATCH", ARTIFACT, self.change),
            ("DELETE", ARTIFACT, self.delete_version),
        ]
        return [
            Route(PREFIX + path, handler, methods=[method], name=handler.__name__)
            for method, path, handler in table
        ]

    def collections(self, request: Request) -> Response:
        """The names of a project's artifacts."""
        entity, project = self._project(request)
        with self._library.reading() as reading:
            found = queries.collections(reading, entity, project, None)
        return _json(
            {
                "collections": [
                    {
                        "entity": of.entity,
                        "project": of.project,
                        "name": of.name,
                        "type": of.type,
                        "description": of.description,
                        "tags": list(of.tags),
                        "created_at": of.created_at,
                    }
                    for of in found
                ]
            }
        )

    def versions(self, request: Request) -> Response:
        """Every version of a name, the newest first."""
        entity, project = self._project(request)
        name = request.path_params["name"]
        with self._library.reading() as reading:
            of = None
            if names.is_storable(name):
                of = queries.collection(reading, entity, project, name)
            if of is None:
                raise NotFoundError(f"there is no artifact {name[:100]!r} in this project")
            found = queries.versions(reading, of.id)
        return _json({"versions": list(map(artifact_json, found))})

    async def change(self, request: Request) -> Response:
        """Description, metadata, tags, time to live and aliases of a version."""
        said = await said_in(request, _SAID, bytes_max=_BODY_BYTES_MAX)
        return await run_in_threadpool(self._change, request, said)

    def _change(self, request: Request, said: Mapping[str, Any]) -> Response:
        found = self._version(request)
        values = _values(said)
        added, removed = _texts(said, "add_aliases"), _texts(said, "delete_aliases")
        for alias in added:
            names.check_alias(alias)
        self._library.change(found.id, **values)
        if removed:
            self._library.delete_aliases(found.id, removed)
        if added:
            self._library.add_aliases(found.id, added)
        return _json(artifact_json(self._library.artifact(found.id)))

    def delete_version(self, request: Request) -> Response:
        """A version goes; with its aliases, if `with_aliases=true`."""
        with_aliases = request.query_params.get("with_aliases") == "true"
        found = self._library.delete(self._version(request).id, with_aliases=with_aliases)
        return _json(artifact_json(found))

    def _version(self, request: Request) -> Artifact:
        asked = request.path_params
        return version_asked(self._library, request, asked["entity"], asked["project"])

    @staticmethod
    def _project(request: Request) -> tuple[str, str]:
        entity = caller_of(request).check(request.path_params["entity"])
        project: str = request.path_params["project"]
        if not all(map(names.is_storable, (entity, project))):
            raise NotFoundError(f"there is no project {project[:100]!r}")
        return entity, project


def _values(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the catalog is to have."""
    values: dict[str, Any] = {}
    if "description" in said:
        if not isinstance(said["description"], (str, type(None))):
            raise BadRequestError("description is a text, or null")
        values["description"] = said["description"] and names.storable(said["description"])
    if "metadata" in said:
        if not isinstance(said["metadata"], dict):
            raise BadRequestError("metadata is an object")
        values["metadata"] = names.storable(json.dumps(said["metadata"]))
    if "tags" in said:
        tags = [names.check_name(tag, of="tag of an artifact") for tag in _texts(said, "tags")]
        values["tags"] = json.dumps(list(dict.fromkeys(tags)))
    if "ttl_s" in said:
        ttl_s = said["ttl_s"]
        is_whole = isinstance(ttl_s, int) and not isinstance(ttl_s, bool)
        if ttl_s is not None and not (is_whole and 0 < ttl_s < _TTL_S_MAX):
            raise BadRequestError("ttl_s is a number of seconds, or null")
        values["ttl_s"] = ttl_s
    return values


def _texts(said: Mapping[str, Any], name: str) -> Sequence[str]:
    found = said.get(name, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise BadRequestError(f"{name} is a list of texts")
    return found


def _json(document: Any) -> Response:
    return Response(to_json(document), media_type="application/json")
