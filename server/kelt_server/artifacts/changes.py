"""What is written of artifacts, over one connection that is in a writing transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from kelt_server.artifacts import queries
from kelt_server.artifacts.names import LATEST
from kelt_server.artifacts.records import (
    COMMITTED,
    DELETED,
    MERGED,
    PENDING,
    Artifact,
    ArtifactFile,
    Collection,
    ManifestRecord,
    NewArtifact,
)
from kelt_server.branch_names import Name
from kelt_server.catalog.artifact_tables import (
    ALIASES,
    ARTIFACTS,
    COLLECTIONS,
    FILES,
    MANIFESTS,
    USES,
)
from kelt_server.catalog.statements import chunks
from kelt_server.errors import BadRequestError

_A, _C = ARTIFACTS.c, COLLECTIONS.c


def collection_for(connection: Connection, new: NewArtifact, now: float) -> Collection:
    """The collection that an artifact goes into, made where it is not there.

    Raises:
        BadRequestError: it is there with another type.
    """
    found = queries.collection(connection, new.entity, new.project, new.name)
    if found is None:
        values = {
            "entity": new.entity, "project": new.project, "name": new.name, "type": new.type,
            "description": None, "tags": "[]", "created_at": now, "updated_at": now, "versions": 0,
        }  # fmt: skip
        connection.execute(insert(COLLECTIONS).values(**values))
        found = queries.collection(connection, new.entity, new.project, new.name)
    assert found is not None  # noqa: S101 # just made, in this transaction
    if found.type != new.type:
        raise BadRequestError(
            f"the artifact {new.name!r} is there already with the type {found.type!r}; log this "
            f"one, of the type {new.type!r}, under another name"
        )
    return found


def add_artifact(
    connection: Connection,
    of: Collection,
    new: NewArtifact,
    *,
    now: float,
    same_as: int | None = None,
) -> int:
    """What may become a version, or stands for one that has the same content."""
    entity, project, run_id = new.logged_by or ("", "", "")
    values = {
        "collection_id": of.id, "state": PENDING if same_as is None else MERGED,
        "version": None, "digest": new.digest, "description": new.description,
        "metadata": new.metadata, "tags": json.dumps(new.tags), "ttl_s": new.ttl_s,
        "size_bytes": 0, "file_count": 0, "history_step": new.history_step, "created_at": now,
        "updated_at": now, "run_entity": entity, "run_project": project, "run_id": run_id,
        "client_id": new.client_id, "distributed_id": new.distributed_id,
        "wanted_aliases": json.dumps(new.aliases), "manifest_id": "", "same_as": same_as,
    }  # fmt: skip
    key = connection.execute(insert(ARTIFACTS).values(**values)).inserted_primary_key
    assert key is not None  # noqa: S101 # one row was inserted
    return int(key[0])


def add_manifest(connection: Connection, said: ManifestRecord, now: float) -> None:
    """One that a client will put."""
    connection.execute(
        insert(MANIFESTS).values(
            id=said.id,
            artifact_id=said.artifact_id,
            kind=said.kind,
            base_id=said.base_id,
            digest=said.digest,
            made_at=now,
        )
    )


def set_manifest_digest(connection: Connection, manifest_id: str, digest: str) -> None:
    """What the manifest will be known by, said after it was announced."""
    changed = update(MANIFESTS).where(MANIFESTS.c.id == manifest_id)
    connection.execute(changed.values(digest=digest))


def set_files(connection: Connection, number: int, said: Sequence[ArtifactFile]) -> None:
    """Adds files of an artifact that is not committed yet."""
    rows = [
        {
            "artifact_id": number, "path": file.path, "digest": file.digest, "md5": file.md5,
            "size_bytes": file.size_bytes, "ref": file.ref,
        }
        for file in said
    ]  # fmt: skip
    if rows:
        connection.execute(insert(FILES), rows)


def clear_files(connection: Connection, number: int, limit: int) -> bool:
    """Takes some of an artifact's files away; whether there may be more."""
    asked = select(FILES.c.path).where(FILES.c.artifact_id == number).limit(limit)
    paths = list(connection.execute(asked).scalars())
    for chunk in chunks(paths):
        connection.execute(
            delete(FILES).where(FILES.c.artifact_id == number, FILES.c.path.in_(chunk))
        )
    return len(paths) == limit


def commit(
    connection: Connection,
    said: Artifact,
    *,
    digest: str,
    size_bytes: int,
    file_count: int,
    manifest_id: str,
    now: float,
) -> None:
    """Makes it the next version, and moves its aliases to it."""
    number = connection.execute(select(_C.versions).where(_C.id == said.collection.id)).scalar_one()
    values = {
        "state": COMMITTED, "version": number, "digest": digest, "size_bytes": size_bytes,
        "file_count": file_count, "manifest_id": manifest_id, "updated_at": now,
    }  # fmt: skip
    connection.execute(update(ARTIFACTS).where(_A.id == said.id).values(**values))
    connection.execute(
        update(COLLECTIONS)
        .where(_C.id == said.collection.id)
        .values(versions=number + 1, updated_at=now)
    )
    point(connection, said.collection.id, said.id, (*said.wanted_aliases, LATEST))


def merge(connection: Connection, number: int, into: Artifact) -> None:
    """Makes one stand for a version that has the same content."""
    values = {"state": MERGED, "same_as": into.id}
    connection.execute(update(ARTIFACTS).where(_A.id == number).values(**values))


def point(connection: Connection, collection_id: int, number: int, aliases: Iterable[str]) -> None:
    """Moves aliases of a collection to one of its versions."""
    for alias in dict.fromkeys(aliases):
        named = and_(ALIASES.c.collection_id == collection_id, ALIASES.c.alias == alias)
        changed = connection.execute(update(ALIASES).where(named).values(artifact_id=number))
        if not changed.rowcount:
            values = {"collection_id": collection_id, "alias": alias, "artifact_id": number}
            connection.execute(insert(ALIASES).values(**values))


def unpoint(connection: Connection, number: int, aliases: Iterable[str]) -> None:
    """Takes aliases from a version."""
    for chunk in chunks(sorted(set(aliases))):
        connection.execute(
            delete(ALIASES).where(ALIASES.c.artifact_id == number, ALIASES.c.alias.in_(chunk))
        )


def delete_artifact(connection: Connection, said: Artifact, now: float) -> None:
    """Takes a version away; `latest` goes to the newest that is left."""
    values = {"state": DELETED, "updated_at": now}
    connection.execute(update(ARTIFACTS).where(_A.id == said.id).values(**values))
    connection.execute(delete(ALIASES).where(ALIASES.c.artifact_id == said.id))
    if LATEST in said.aliases:
        newest = connection.execute(
            select(_A.id)
            .where(_A.collection_id == said.collection.id, _A.state == COMMITTED)
            .order_by(_A.version.desc())
            .limit(1)
        ).scalar()
        if newest is not None:
            point(connection, said.collection.id, newest, (LATEST,))


def forget(connection: Connection, number: int) -> None:
    """Takes away what was never committed."""
    connection.execute(delete(ARTIFACTS).where(_A.id == number, _A.state == PENDING))


def delete_collection(connection: Connection, said: Collection, now: float) -> None:
    """Takes a collection away with all its versions. Its name may be used again, from v0."""
    values = {"state": DELETED, "updated_at": now}
    connection.execute(update(ARTIFACTS).where(_A.collection_id == said.id).values(**values))
    connection.execute(delete(ALIASES).where(ALIASES.c.collection_id == said.id))
    connection.execute(delete(COLLECTIONS).where(_C.id == said.id))


def change_artifact(connection: Connection, number: int, now: float, **values: Any) -> None:
    """Sets columns of an artifact."""
    changed = update(ARTIFACTS).where(_A.id == number)
    connection.execute(changed.values(**values, updated_at=now))


def change_collection(connection: Connection, number: int, now: float, **values: Any) -> None:
    """Sets columns of a collection."""
    changed = update(COLLECTIONS).where(_C.id == number)
    connection.execute(changed.values(**values, updated_at=now))


def add_use(connection: Connection, number: int, run: Name, used_as: str, now: float) -> None:
    """A run uses an artifact; the first time counts."""
    entity, project, run_id = run
    named = and_(
        USES.c.artifact_id == number,
        USES.c.entity == entity,
        USES.c.project == project,
        USES.c.run_id == run_id,
    )
    if connection.execute(select(func.count()).select_from(USES).where(named)).scalar():
        return
    values = {
        "artifact_id": number, "entity": entity, "project": project, "run_id": run_id,
        "used_as": used_as, "used_at": now,
    }  # fmt: skip
    connection.execute(insert(USES).values(**values))
