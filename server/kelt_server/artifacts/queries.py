"""What is read of artifacts, over one connection."""

from __future__ import annotations

import json
from collections.abc import Collection as Some
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from kelt_server.artifacts.names import LATEST, version_of
from kelt_server.artifacts.records import (
    COMMITTED,
    DELETED,
    MERGED,
    PENDING,
    Artifact,
    ArtifactFile,
    Collection,
    ManifestRecord,
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

_A, _C = ARTIFACTS.c, COLLECTIONS.c


def collection(connection: Connection, entity: str, project: str, name: str) -> Collection | None:
    """The collection of a name."""
    asked = select(COLLECTIONS).where(_C.entity == entity, _C.project == project, _C.name == name)
    row = connection.execute(asked).first()
    return None if row is None else collection_of_row(row)


def collection_of_id(connection: Connection, number: int) -> Collection | None:
    """Likewise, by number."""
    row = connection.execute(select(COLLECTIONS).where(_C.id == number)).first()
    return None if row is None else collection_of_row(row)


def collections(
    connection: Connection, entity: str, project: str, type_name: str | None
) -> list[Collection]:
    """Those of a project by name, perhaps of one type alone."""
    asked = select(COLLECTIONS).where(_C.entity == entity, _C.project == project)
    if type_name is not None:
        asked = asked.where(_C.type == type_name)
    return [collection_of_row(row) for row in connection.execute(asked.order_by(_C.name))]


def types(connection: Connection, entity: str, project: str) -> list[tuple[str, float]]:
    """The types of a project's collections, and since when there are such."""
    asked = (
        select(_C.type, func.min(_C.created_at))
        .where(_C.entity == entity, _C.project == project)
        .group_by(_C.type)
        .order_by(_C.type)
    )
    return [(row[0], row[1]) for row in connection.execute(asked)]


def artifact(connection: Connection, number: int) -> Artifact | None:
    """The artifact of a number, or that which had the same content before it."""
    row = connection.execute(select(_A.same_as).where(_A.id == number)).first()
    if row is None:
        return None
    found = artifacts_where(connection, _A.id == (number if row.same_as is None else row.same_as))
    return found[0] if found else None


def by_client_id(connection: Connection, client_id: str) -> Artifact | None:
    """What a client calls by an id of its own."""
    asked = select(_A.id).where(_A.client_id == client_id).order_by(_A.id.desc())
    number = connection.execute(asked).scalar()
    return None if number is None else artifact(connection, number)


def pending_of_distributed(
    connection: Connection, collection_id: int, distributed_id: str
) -> Artifact | None:
    """What several runs are about to log together."""
    found = artifacts_where(
        connection,
        and_(
            _A.collection_id == collection_id,
            _A.distributed_id == distributed_id,
            _A.state == PENDING,
        ),
    )
    return found[0] if found else None


def of_digest(connection: Connection, collection_id: int, digest: str) -> Artifact | None:
    """The version with this content."""
    found = artifacts_where(
        connection,
        and_(_A.collection_id == collection_id, _A.digest == digest, _A.state == COMMITTED),
    )
    return found[-1] if found else None


def version(connection: Connection, of: Collection, alias: str) -> Artifact | None:
    """The version that an alias, a number or a digest names."""
    number = version_of(alias)
    if number is None:
        asked = select(ALIASES.c.artifact_id).where(
            ALIASES.c.collection_id == of.id, ALIASES.c.alias == alias
        )
        by_alias = connection.execute(asked).scalar()
        if by_alias is None:
            return of_digest(connection, of.id, alias)
        condition = _A.id == by_alias
    else:
        condition = and_(_A.collection_id == of.id, _A.version == number)
    found = artifacts_where(connection, and_(condition, _A.state == COMMITTED))
    return found[0] if found else None


def latest(connection: Connection, of: Collection) -> Artifact | None:
    """What was logged last."""
    return version(connection, of, LATEST)


def versions(connection: Connection, collection_id: int) -> list[Artifact]:
    """Every version that there is, newest first."""
    found = artifacts_where(
        connection, and_(_A.collection_id == collection_id, _A.state == COMMITTED)
    )
    return sorted(found, key=lambda item: item.version or 0, reverse=True)


def logged_by(connection: Connection, run: Name) -> list[Artifact]:
    """What a run logged, also where the content was there before."""
    entity, project, run_id = run
    asked = select(func.coalesce(_A.same_as, _A.id)).where(
        _A.run_entity == entity,
        _A.run_project == project,
        _A.run_id == run_id,
        _A.state.in_((COMMITTED, MERGED)),
    )
    return artifacts_where(connection, and_(_A.id.in_(asked), _A.state == COMMITTED))


def used_by_run(connection: Connection, run: Name) -> list[Artifact]:
    """What a run used, deleted ones too."""
    entity, project, run_id = run
    asked = select(USES.c.artifact_id).where(
        USES.c.entity == entity, USES.c.project == project, USES.c.run_id == run_id
    )
    return artifacts_where(connection, _A.id.in_(asked))


def users_of(connection: Connection, number: int) -> list[Name]:
    """The runs that used an artifact, in the order in which they did."""
    asked = select(USES).where(USES.c.artifact_id == number).order_by(USES.c.used_at)
    return [(row.entity, row.project, row.run_id) for row in connection.execute(asked)]


def aliases_of_collection(connection: Connection, collection_id: int) -> list[str]:
    """Every alias that one of its versions has."""
    asked = select(ALIASES.c.alias).where(ALIASES.c.collection_id == collection_id)
    return sorted(connection.execute(asked).scalars())


def files(
    connection: Connection,
    number: int,
    *,
    paths: Some[str] | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> list[ArtifactFile]:
    """Files of an artifact by path, perhaps these alone."""
    asked = select(FILES).where(FILES.c.artifact_id == number).order_by(FILES.c.path)
    if paths is None:
        return [_file(row) for row in connection.execute(asked.offset(offset).limit(limit))]
    return [
        _file(row)
        for chunk in chunks(sorted(set(paths)))
        for row in connection.execute(asked.where(FILES.c.path.in_(chunk)))
    ]


def manifests_of(connection: Connection, number: int) -> list[ManifestRecord]:
    """The manifests that were announced for an artifact, in that order."""
    asked = select(MANIFESTS).where(MANIFESTS.c.artifact_id == number)
    return [_manifest(row) for row in connection.execute(asked.order_by(MANIFESTS.c.made_at))]


def manifest(connection: Connection, manifest_id: str) -> ManifestRecord | None:
    """One of them."""
    row = connection.execute(select(MANIFESTS).where(MANIFESTS.c.id == manifest_id)).first()
    return None if row is None else _manifest(row)


def wanted_blobs(connection: Connection, entity: str, md5s: Sequence[str]) -> set[str]:
    """Which of some blobs an artifact of an entity has, or is about to have."""
    asked = (
        select(FILES.c.md5)
        .join(ARTIFACTS, FILES.c.artifact_id == _A.id)
        .join(COLLECTIONS, _A.collection_id == _C.id)
        .where(_C.entity == entity, _A.state.in_((PENDING, COMMITTED)))
    )
    return {
        md5
        for chunk in chunks(md5s)
        for md5 in connection.execute(asked.where(FILES.c.md5.in_(chunk))).scalars()
    }


def wanted_manifests(connection: Connection, manifest_ids: Sequence[str]) -> set[str]:
    """Which of some manifests an artifact has, or is about to have."""
    is_its_own = and_(_A.state == COMMITTED, _A.manifest_id == MANIFESTS.c.id)
    asked = (
        select(MANIFESTS.c.id)
        .join(ARTIFACTS, MANIFESTS.c.artifact_id == _A.id)
        .where(or_(_A.state == PENDING, is_its_own))
    )
    return {
        found
        for chunk in chunks(manifest_ids)
        for found in connection.execute(asked.where(MANIFESTS.c.id.in_(chunk))).scalars()
    }


def given_up(connection: Connection, before: float, limit: int) -> list[int]:
    """What was begun before a time and never committed."""
    asked = select(_A.id).where(_A.state == PENDING, _A.updated_at < before)
    return list(connection.execute(asked.limit(limit)).scalars())


def outlived(connection: Connection, now: float, limit: int) -> list[int]:
    """Versions whose time to live is over."""
    asked = select(_A.id).where(
        _A.state == COMMITTED, _A.ttl_s.is_not(None), _A.created_at + _A.ttl_s < now
    )
    return list(connection.execute(asked.limit(limit)).scalars())


def without_use_for_files(connection: Connection, limit: int) -> list[int]:
    """What was deleted, or stands for another, and has files in the catalog still."""
    asked = (
        select(FILES.c.artifact_id)
        .join(ARTIFACTS, FILES.c.artifact_id == _A.id)
        .where(_A.state.in_((DELETED, MERGED)))
        .distinct()
        .limit(limit)
    )
    return list(connection.execute(asked).scalars())


def artifacts_where(connection: Connection, condition: ColumnElement[bool]) -> list[Artifact]:
    """Those that meet a condition, with their aliases, in the order in which they were begun."""
    asked: Select[Any] = (
        select(ARTIFACTS, *(column.label(f"of_{column.name}") for column in COLLECTIONS.columns))
        .join(COLLECTIONS, _A.collection_id == _C.id)
        .where(condition)
        .order_by(_A.id)
    )
    rows = connection.execute(asked).all()
    aliases = _aliases(connection, [row.id for row in rows])
    return [_artifact(row, aliases.get(row.id, ())) for row in rows]


def _aliases(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = {}
    asked = select(ALIASES).order_by(ALIASES.c.alias)
    for chunk in chunks(numbers):
        for row in connection.execute(asked.where(ALIASES.c.artifact_id.in_(chunk))):
            found.setdefault(row.artifact_id, []).append(row.alias)
    return {number: tuple(names) for number, names in found.items()}


def collection_of_row(row: Any, prefix: str = "") -> Collection:
    """A row of the table, whose columns may have a prefix."""
    said = {name: getattr(row, prefix + name) for name in _COLLECTION_FIELDS}
    return Collection(tags=tuple(json.loads(getattr(row, f"{prefix}tags"))), **said)


_COLLECTION_FIELDS = tuple(name for name in Collection.__dataclass_fields__ if name != "tags")
_SPECIAL = ("collection", "tags", "aliases", "wanted_aliases", "logged_by")
_ARTIFACT_FIELDS = tuple(name for name in Artifact.__dataclass_fields__ if name not in _SPECIAL)


def _artifact(row: Any, aliases: Iterable[str]) -> Artifact:
    return Artifact(
        collection=collection_of_row(row, "of_"),
        tags=tuple(json.loads(row.tags)),
        wanted_aliases=tuple(json.loads(row.wanted_aliases)),
        logged_by=(row.run_entity, row.run_project, row.run_id) if row.run_id else None,
        aliases=tuple(aliases),
        **{name: getattr(row, name) for name in _ARTIFACT_FIELDS},
    )


def _file(row: Any) -> ArtifactFile:
    return ArtifactFile(
        path=row.path, digest=row.digest, md5=row.md5, size_bytes=row.size_bytes, ref=row.ref
    )


def _manifest(row: Any) -> ManifestRecord:
    return ManifestRecord(
        id=row.id,
        artifact_id=row.artifact_id,
        kind=row.kind,
        base_id=row.base_id,
        digest=row.digest,
    )
