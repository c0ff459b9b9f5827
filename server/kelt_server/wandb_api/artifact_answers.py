"""Artifacts as wandb's clients ask for them. Called in a worker thread, as stores block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kelt_server.access.callers import Caller
from kelt_server.artifacts import ArtifactLibrary, names, queries
from kelt_server.artifacts.records import COMMITTED, DELETED, Artifact, ArtifactFile, Collection
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError
from kelt_server.wandb_api import run_answers
from kelt_server.wandb_api.arguments import connection, cursor, given, json_of, limit, text
from kelt_server.wandb_api.artifact_addresses import ArtifactAddresses

_PAGE_MAX = 10_000
_Resolver = Callable[..., Any]
_ARTIFACT, _COLLECTION = "Artifact", "ArtifactCollection"
_TTL_FOR_EVER = -2


class ArtifactAnswers:
    """Methods are named as the schema's fields. Whatever a number names is the caller's to see."""

    def __init__(
        self, *, library: ArtifactLibrary, addresses: ArtifactAddresses, caller: Caller
    ) -> None:
        self._library = library
        self._addresses = addresses
        self._caller = caller

    def artifact(self, _info: object, **said: Any) -> dict[str, Any] | None:
        """One by id."""
        number = names.decode_id(_ARTIFACT, given(said).get("id"))
        with self._library.reading() as reading:
            found = queries.artifact(reading, number)
        return None if found is None else self._artifact(self._open(found))

    def artifactCollection(self, _info: object, **said: Any) -> dict[str, Any] | None:  # noqa: N802
        """Likewise."""
        number = names.decode_id(_COLLECTION, given(said).get("id"))
        with self._library.reading() as reading:
            found = queries.collection_of_id(reading, number)
        if found is None:
            return None
        self._caller.check(found.entity)
        return self._collection(found)

    def clientIDMapping(self, _info: object, **said: Any) -> dict[str, Any] | None:  # noqa: N802
        """The id of what a client calls by its own."""
        with self._library.reading() as reading:
            found = queries.by_client_id(reading, text(given(said).get("clientID")))
        if found is None or found.state == DELETED:
            return None
        self._open(found)
        return {"serverID": names.encode_id(_ARTIFACT, found.id)}

    def organization(self, _info: object, **_said: Any) -> None:
        """There are none."""
        raise BadRequestError("a kelt server has no organizations, and so no registries")

    def of_project(self, entity: str, project: str) -> dict[str, Any]:
        """The fields of a project."""

        def membership(_info: object, **said: Any) -> dict[str, Any] | None:
            found = self._version(entity, project, text(given(said).get("name")))
            return None if found is None else self._membership(found)

        def of_type(_info: object, **said: Any) -> dict[str, Any] | None:
            wanted = text(given(said).get("name"))
            with self._library.reading() as reading:
                found = dict(queries.types(reading, entity, project))
            at = found.get(wanted)
            return None if at is None else self._type(entity, project, wanted, at)

        def types(_info: object, **said: Any) -> dict[str, Any]:
            with self._library.reading() as reading:
                found = queries.types(reading, entity, project)
            return _page([self._type(entity, project, *item) for item in found], said)

        return {
            "artifact": self._one_version(entity, project, None),
            "artifactCollectionMembership": membership,
            "artifactType": of_type,
            "artifactTypes": types,
            "artifactCollection": self._one_collection(entity, project, None),
            "artifactCollections": self._collections(entity, project, None),
        }

    def of_run(self, run: Name) -> dict[str, Any]:
        """The fields of a run."""

        def logged(_info: object, **said: Any) -> dict[str, Any]:
            with self._library.reading() as reading:
                found = queries.logged_by(reading, run)
            seen = [logged for logged in found if self._caller.may(logged.collection.entity)]
            return _page(seen, said, self._artifact)

        def used(_info: object, **said: Any) -> dict[str, Any]:
            with self._library.reading() as reading:
                found = queries.used_by_run(reading, run)
            seen = [used for used in found if self._caller.may(used.collection.entity)]
            return _page(seen, said, self._artifact)

        return {"outputArtifacts": logged, "inputArtifacts": used}

    def _open(self, found: Artifact) -> Artifact:
        """What a number named.

        Raises:
            ForbiddenError: it is another's.
        """
        self._caller.check(found.collection.entity)
        return found

    # -- nodes ----------------------------------------------------------------------------------

    def _version(self, entity: str, project: str, name: str) -> Artifact | None:
        collection, alias = names.split_name(name)
        with self._library.reading() as reading:
            of = queries.collection(reading, entity, project, collection)
            return None if of is None else queries.version(reading, of, alias)

    def _one_version(self, entity: str, project: str, type_name: str | None) -> _Resolver:
        def resolve(_info: object, **said: Any) -> dict[str, Any] | None:
            found = self._version(entity, project, text(given(said).get("name")))
            if found is None or (type_name is not None and found.collection.type != type_name):
                return None
            return self._artifact(found)

        return resolve

    def _one_collection(self, entity: str, project: str, type_name: str | None) -> _Resolver:
        def resolve(_info: object, **said: Any) -> dict[str, Any] | None:
            with self._library.reading() as reading:
                name = text(given(said).get("name"))
                found = queries.collection(reading, entity, project, name)
            if found is None or (type_name is not None and found.type != type_name):
                return None
            return self._collection(found)

        return resolve

    def _collections(self, entity: str, project: str, type_name: str | None) -> _Resolver:
        def resolve(_info: object, **said: Any) -> dict[str, Any]:
            with self._library.reading() as reading:
                found = queries.collections(reading, entity, project, type_name)
            return _page(found, said, self._collection)

        return resolve

    def _type(self, entity: str, project: str, name: str, at: float) -> dict[str, Any]:
        one = self._one_collection(entity, project, name)
        several = self._collections(entity, project, name)
        return {
            "id": run_answers.storage_id((entity, project, f"type/{name}")),
            "name": name,
            "description": None,
            "createdAt": run_answers.iso(at),
            "artifact": self._one_version(entity, project, name),
            "artifactCollection": one,
            "artifactSequence": one,
            "artifactCollections": several,
            "artifactSequences": several,
        }

    def _collection(self, of: Collection) -> dict[str, Any]:
        def membership(_info: object, **said: Any) -> dict[str, Any] | None:
            with self._library.reading() as reading:
                found = queries.version(reading, of, text(given(said).get("aliasName")))
            return None if found is None else self._membership(found)

        def versions(_info: object, **said: Any) -> dict[str, Any]:
            with self._library.reading() as reading:
                found = queries.versions(reading, of.id)
            kept = _filtered(found, given(said).get("filters"))
            order = text(given(said).get("order"))
            if order and not order.startswith("-"):
                kept = kept[::-1]
            return _page(kept, said, self._artifact, edge=_version_edge)

        def latest(_info: object) -> dict[str, Any] | None:
            with self._library.reading() as reading:
                found = queries.latest(reading, of)
            return None if found is None else self._artifact(found)

        def aliases(_info: object, **said: Any) -> dict[str, Any]:
            with self._library.reading() as reading:
                found = queries.aliases_of_collection(reading, of.id)
            return _page([self._alias(of, alias) for alias in found], said)

        return {
            "__typename": "ArtifactSequence",
            "id": names.encode_id(_COLLECTION, of.id),
            "name": of.name,
            "description": of.description,
            "createdAt": run_answers.iso(of.created_at),
            "updatedAt": run_answers.iso(of.updated_at),
            "state": "READY",
            "project": run_answers.project_fields(of.entity, of.project),
            "defaultArtifactType": {"name": of.type},
            "tags": {"edges": [{"node": _tag(tag)} for tag in of.tags]},
            "aliases": aliases,
            "artifactMembership": membership,
            "artifacts": versions,
            "latestArtifact": latest,
        }

    def _artifact(self, found: Artifact) -> dict[str, Any]:
        of = found.collection

        def manifest(_info: object) -> dict[str, Any] | None:
            if not found.manifest_id:
                return None
            address = self._addresses.manifest("GET", of.entity, found.manifest_id)
            file = {"id": found.manifest_id, "name": "wandb_manifest.json", "directUrl": address}
            return {"id": found.manifest_id, "file": {**file, "url": address}}

        def users(_info: object) -> dict[str, Any]:
            with self._library.reading() as reading:
                runs = queries.users_of(reading, found.id)
            return {"edges": [{"node": _run(run)} for run in runs if self._caller.may(run[0])]}

        return {
            "__typename": "Artifact",
            "id": names.encode_id(_ARTIFACT, found.id),
            "versionIndex": found.version,
            "artifactSequence": lambda _info: self._collection(of),
            "artifactType": {"name": of.type},
            "description": found.description,
            "metadata": found.metadata,
            "ttlDurationSeconds": _TTL_FOR_EVER if found.ttl_s is None else found.ttl_s,
            "ttlIsInherited": found.ttl_s is None,
            "tags": [_tag(tag) for tag in found.tags],
            "historyStep": found.history_step,
            "state": found.state,
            "size": found.size_bytes,
            "digest": found.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": f"{found.id:020x}",
            "fileCount": found.file_count,
            "createdAt": run_answers.iso(found.created_at),
            "updatedAt": run_answers.iso(found.updated_at),
            "aliases": lambda _info: self._aliases(found),
            "currentManifest": manifest,
            "createdBy": None if found.logged_by is None else _run(found.logged_by),
            "usedBy": users,
            "artifactMemberships": lambda _info: {"edges": [{"node": self._membership(found)}]},
            "files": self._files(found),
        }

    def _membership(self, found: Artifact) -> dict[str, Any]:
        """Nothing is linked, so each is a member of its own collection alone."""
        return {
            "id": names.encode_id("ArtifactCollectionMembership", found.id),
            "versionIndex": found.version,
            "createdAt": run_answers.iso(found.created_at),
            "aliases": lambda _info: self._aliases(found),
            "artifactCollection": lambda _info: self._collection(found.collection),
            "artifact": lambda _info: self._artifact(found),
            "files": self._files(found),
        }

    def _aliases(self, found: Artifact) -> list[dict[str, Any]]:
        """With the number of the version, which older clients look for."""
        own = () if found.version is None else (f"v{found.version}",)
        return [self._alias(found.collection, alias) for alias in (*found.aliases, *own)]

    def _alias(self, of: Collection, alias: str) -> dict[str, Any]:
        return {
            "id": run_answers.storage_id((of.entity, of.project, f"{of.name}:{alias}")),
            "alias": alias,
            "artifactCollection": lambda _info: self._collection(of),
        }

    def _files(self, found: Artifact) -> _Resolver:
        def resolve(_info: object, **said: Any) -> dict[str, Any]:
            asked = given(said)
            wanted, start = asked.get("names"), cursor(asked.get("after"))
            page = limit(asked.get("first"), 50, _PAGE_MAX)
            with self._library.reading() as reading:
                if isinstance(wanted, list) and wanted:
                    listed = queries.files(reading, found.id, paths=[text(n) for n in wanted])
                    nodes, total = listed[start : start + page], len(listed)
                else:
                    nodes = queries.files(reading, found.id, offset=start, limit=page)
                    total = found.file_count
            of = found.collection
            return connection([self._file(of, file) for file in nodes], start=start, total=total)

        return resolve

    def _file(self, of: Collection, file: ArtifactFile) -> dict[str, Any]:
        address = self._addresses.blob("GET", of.entity, file.md5) if file.md5 else file.ref
        return {
            "id": run_answers.storage_id((of.entity, of.project, f"{of.name}/{file.path}")),
            "name": file.path, "displayName": file.path, "url": address, "directUrl": address,
            "sizeBytes": file.size_bytes, "storagePath": f"blobs/{file.md5}",
            "mimetype": "application/octet-stream", "updatedAt": None,
            "digest": file.digest, "md5": file.digest,
        }  # fmt: skip


def _page(
    found: Sequence[Any],
    said: Mapping[str, Any],
    node: Callable[[Any], dict[str, Any]] = dict,
    edge: Callable[[Any], dict[str, Any]] = lambda node: {"node": node},
) -> dict[str, Any]:
    asked = given(said)
    start = cursor(asked.get("after"))
    stop = start + limit(asked.get("first"), 50, _PAGE_MAX)
    nodes = [node(item) for item in found[start:stop]]
    return connection(nodes, start=start, total=len(found), edge=edge)


def _version_edge(node: Mapping[str, Any]) -> dict[str, Any]:
    return {"node": node, "version": f"v{node['versionIndex']}"}


def _filtered(found: Sequence[Artifact], said: object) -> Sequence[Artifact]:
    """Clients ask for the state alone.

    Raises:
        BadRequestError: something else was asked.
    """
    asked = json_of(said, "filter of artifacts") if isinstance(said, str) and said else {}
    if not isinstance(asked, dict) or asked.keys() - {"state"}:
        raise BadRequestError("artifacts can be filtered by their state only")
    return found if asked.get("state", COMMITTED) == COMMITTED else []


def _tag(name: str) -> dict[str, Any]:
    return {"__typename": "Tag", "id": name, "name": name}


def _run(name: Name) -> dict[str, Any]:
    return {
        "__typename": "Run",
        "id": run_answers.storage_id(name),
        "name": name[2],
        "project": run_answers.project_fields(name[0], name[1]),
    }
