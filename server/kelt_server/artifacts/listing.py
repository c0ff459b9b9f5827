"""Collections and versions as lists of people have them, a part at a time, over one connection."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, or_, select, tuple_

from kelt_server.artifacts.queries import artifacts_where, collection_of_row
from kelt_server.artifacts.records import COMMITTED, MERGED, Artifact, Collection
from kelt_server.branch_names import Name
from kelt_server.catalog.artifact_tables import ARTIFACTS, COLLECTIONS
from kelt_server.catalog.statements import chunks

_A, _C = ARTIFACTS.c, COLLECTIONS.c


@dataclass(frozen=True, slots=True)
class Head:
    """A collection, how many versions of it there are, and the newest; None where none is left."""

    collection: Collection
    versions: int
    newest: Artifact | None


def heads(
    connection: Connection, entity: str, project: str, *, text: str, offset: int, limit: int
) -> tuple[list[Head], int]:
    """Collections of a project by type and name, and how many there are.

    Args:
        connection: to the catalog.
        entity: whose project it is.
        project: of the collections.
        text: that a name or a type contains; empty for all.
        offset: how many to skip.
        limit: how many at most.
    """
    wanted = and_(_C.entity == entity, _C.project == project)
    if text:
        has = (_C.name.icontains(text, autoescape=True), _C.type.icontains(text, autoescape=True))
        wanted = and_(wanted, or_(*has))
    total = connection.execute(select(func.count()).select_from(COLLECTIONS).where(wanted)).scalar()
    asked = select(COLLECTIONS).where(wanted).order_by(_C.type, _C.name)
    found = [
        collection_of_row(row) for row in connection.execute(asked.offset(offset).limit(limit))
    ]
    counts: dict[int, tuple[int, int]] = {}
    for chunk in chunks([of.id for of in found]):
        ends = select(_A.collection_id, func.count(), func.max(_A.version)).where(
            _A.collection_id.in_(chunk), _A.state == COMMITTED
        )
        for row in connection.execute(ends.group_by(_A.collection_id)):
            counts[row[0]] = row[1], row[2]
    newest = {
        item.collection.id: item
        for chunk in chunks([(number, version) for number, (_, version) in counts.items()])
        for item in artifacts_where(
            connection,
            and_(tuple_(_A.collection_id, _A.version).in_(chunk), _A.state == COMMITTED),
        )
    }
    return [Head(of, counts.get(of.id, (0, 0))[0], newest.get(of.id)) for of in found], total or 0


def versions(
    connection: Connection, collection_id: int, *, offset: int, limit: int
) -> tuple[list[Artifact], int]:
    """Versions of a collection, newest first, and how many there are."""
    wanted = and_(_A.collection_id == collection_id, _A.state == COMMITTED)
    total = connection.execute(select(func.count()).select_from(ARTIFACTS).where(wanted)).scalar()
    asked = select(_A.id).where(wanted).order_by(_A.version.desc()).offset(offset).limit(limit)
    numbers = list(connection.execute(asked).scalars())
    found = artifacts_where(connection, _A.id.in_(numbers))
    return sorted(found, key=lambda item: item.version or 0, reverse=True), total or 0


def loggers_of(connection: Connection, found: Artifact) -> list[Name]:
    """The runs that logged this content, the one that made the version first."""
    is_it = or_(_A.id == found.id, and_(_A.same_as == found.id, _A.state == MERGED))
    asked = (
        select(_A.run_entity, _A.run_project, _A.run_id)
        .where(_A.collection_id == found.collection.id, is_it, _A.run_id != "")
        .order_by(_A.id)
    )
    return list(dict.fromkeys((row[0], row[1], row[2]) for row in connection.execute(asked)))
