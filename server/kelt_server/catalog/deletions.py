"""What was deleted, in the catalog's file: each deletion is one transaction.

Deleting a run buries every branch of its name: the branch gets another immutable id, and no name.
So its name and its former id are free at once, also for a shared run, whose id follows from its
name. What descends from it is told the new id, also where it had left it by name alone. What nobody
descends from is removed, here at once, in the metrics store later (`to_remove`).

What else lies under the run's name or its branches in the catalog goes at once: the console, the
sessions of wandb's clients, and which artifacts it logged and used; the artifacts stay.

The writers of the run are ended: what comes of them is refused, whatever name they use, and the
cursors stay, so that daemons know what had been committed.

What arrives only after its parent was deleted finds no parent, and says so (`known_of`): its own
rows are taken as they come, and never joined to another run that was given the name since.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, delete, func, insert, or_, select, update

from kelt_server import facts
from kelt_server.branch_names import Branches, Deleted, Name
from kelt_server.catalog.artifact_tables import ARTIFACTS, USES
from kelt_server.catalog.statements import chunks, transaction
from kelt_server.catalog.tables import (
    BURIALS,
    CONSOLE_LINES,
    CONSOLES,
    DELETED_BRANCHES,
    DELETED_WRITERS,
    DELETIONS,
    FACT_TABLES,
    LIFE_SIGNS,
    WANDB_SESSIONS,
)
from kelt_server.errors import NotFoundError

_BRANCHES = FACT_TABLES[facts.BranchFact]
_ROUTES = FACT_TABLES[facts.RouteFact]
_PIECES = FACT_TABLES[facts.FilePieceFact]
_OBJECTS = select(_PIECES.c.object_id).distinct()
_BY_BRANCH = tuple(table for table in FACT_TABLES.values() if "branch_id" in table.c)
_BY_WRITER = tuple(table for table in FACT_TABLES.values() if "branch_id" not in table.c)
_ID_BYTES = 10


@dataclass(frozen=True, slots=True)
class Deletion:
    """One run that is deleted now.

    Attributes:
        former_ids: of its branches.
        writers: that are ended.
        heirs: the branches that descend from it.
        kept: how many of its branches are kept for them.
        objects: what pieces of files were kept as, that no other piece is.
    """

    former_ids: frozenset[str]
    writers: frozenset[bytes]
    heirs: frozenset[str]
    kept: int
    objects: frozenset[str]


class Deletions:
    """Deletes runs, and knows which were. Mutable state: how often each name was, and when last.

    Bound: one entry a name that was ever deleted.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with transaction(self._engine) as connection:
            name = (DELETIONS.c.entity, DELETIONS.c.project, DELETIONS.c.run_id)
            times = (func.count(), func.max(DELETIONS.c.at))
            found = connection.execute(select(*name, *times).group_by(*name))
            self._times: dict[Name, tuple[int, float]] = {
                (r[0], r[1], r[2]): (r[3], r[4]) for r in found
            }

    def count(self, name: Name) -> int:
        """How often the run of a name was deleted."""
        return self._times[name][0] if name in self._times else 0

    def last_at(self, name: Name) -> float | None:
        """When the run of a name was deleted last."""
        return self._times[name][1] if name in self._times else None

    def known_of(self, connection: Connection, said: Sequence[facts.BranchFact]) -> Deleted:
        """What was deleted of what branches descend from, or of themselves."""
        if not self._times:
            return Deleted()
        names = {(b.parent_entity, b.parent_project, b.parent_run_id) for b in said}
        ids = {b.parent_branch_id for b in said} - {b.branch_id for b in said}
        ids |= {b.branch_id for b in said if b.kind == facts.RESUMED}
        asked = select(DELETED_BRANCHES.c.branch_id, DELETIONS.c.at).join(
            DELETIONS, DELETIONS.c.id == DELETED_BRANCHES.c.deletion
        )
        return Deleted(
            branches={
                row[0]: row[1]
                for chunk in chunks(sorted(ids))
                for row in connection.execute(asked.where(DELETED_BRANCHES.c.branch_id.in_(chunk)))
            },
            names={name: self._times[name][1] for name in names if name in self._times},
        )

    def delete(self, name: Name, *, at: float, by_user: str) -> Deletion:
        """Deletes the run of a name, on disk when this returns.

        Raises:
            NotFoundError: there is none.
            StoreError: nothing was changed.
        """
        with transaction(self._engine) as connection:
            related = _related(connection, name)
            branches = Branches(related, self.known_of(connection, related))
            deletion = _delete(connection, name, branches, at=at, by_user=by_user)
        self._times[name] = self.count(name) + 1, at
        return deletion

    def unsettled(self) -> dict[str, str]:
        """Branches by former id, whose new one the metrics store may not know."""
        asked = select(BURIALS.c.former_id, BURIALS.c.branch_id).where(~BURIALS.c.is_settled)
        with transaction(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(asked)}

    def settle(self, branch_ids: Collection[str]) -> None:
        """The metrics store knows them."""
        with transaction(self._engine) as connection:
            for chunk in chunks(list(branch_ids)):
                changed = update(BURIALS).where(BURIALS.c.branch_id.in_(chunk))
                connection.execute(changed.values(is_settled=True))

    def to_remove(self) -> list[str]:
        """Buried branches whose rows nobody inherits."""
        asked = select(BURIALS.c.branch_id).where(~BURIALS.c.is_kept, BURIALS.c.is_settled)
        with transaction(self._engine) as connection:
            return [row[0] for row in connection.execute(asked)]

    def removed(self, branch_ids: Collection[str]) -> None:
        """The metrics store has nothing of them any more."""
        with transaction(self._engine) as connection:
            for chunk in chunks(list(branch_ids)):
                connection.execute(delete(BURIALS).where(BURIALS.c.branch_id.in_(chunk)))

    def uncleared(self) -> dict[int, Name]:
        """Deletions after which something else may lie under the name."""
        asked = select(DELETIONS).where(~DELETIONS.c.is_cleared)
        with transaction(self._engine) as connection:
            return {
                row.id: (row.entity, row.project, row.run_id) for row in connection.execute(asked)
            }

    def cleared(self, numbers: Collection[int]) -> None:
        """Nothing does any more."""
        with transaction(self._engine) as connection:
            for chunk in chunks(list(numbers)):
                changed = update(DELETIONS).where(DELETIONS.c.id.in_(chunk))
                connection.execute(changed.values(is_cleared=True))

    def has_ended(self, writer_id: bytes) -> bool:
        """Whether the writer's run was deleted."""
        with transaction(self._engine) as connection:
            return writer_id in writers_deleted(connection, [writer_id])


def writers_deleted(connection: Connection, writer_ids: Sequence[bytes]) -> dict[bytes, Name]:
    """The runs whose deletion has ended some of the writers."""
    asked = select(
        DELETED_WRITERS.c.writer_id, DELETIONS.c.entity, DELETIONS.c.project, DELETIONS.c.run_id
    ).join(DELETIONS, DELETIONS.c.id == DELETED_WRITERS.c.deletion)
    return {
        row[0]: (row[1], row[2], row[3])
        for chunk in chunks(writer_ids)
        for row in connection.execute(asked.where(DELETED_WRITERS.c.writer_id.in_(chunk)))
    }


def pinned(branches: Branches, doomed: Collection[str]) -> dict[str, str]:
    """Branches that left one of the doomed by name alone, and which that is. Pure."""
    found = {}
    for branch in branches.by_id.values():
        if branch.parent_branch_id or not branch.parent_run_id:
            continue
        parent = branches.parent_of(branch)
        if parent in doomed:
            found[branch.branch_id] = str(parent)
    return found


def _delete(
    connection: Connection, name: Name, branches: Branches, *, at: float, by_user: str
) -> Deletion:
    entity, project, run_id = name
    doomed = {b.branch_id: _new_id() for b in branches.by_id.values() if b.name == name}
    if not doomed:
        raise NotFoundError(f"there is no run {run_id!r} in {entity}/{project}")
    heirs = {b.branch_id for b in branches.by_id.values()} - doomed.keys()
    routes = select(_ROUTES.c.writer_id).distinct()
    writers = set(_scalars(connection, routes, _ROUTES.c.branch_id, list(doomed)))
    said = {
        "entity": entity, "project": project, "run_id": run_id, "at": at, "by_user": by_user,
        "is_cleared": False,
    }  # fmt: skip
    (number,) = connection.execute(insert(DELETIONS).values(said)).inserted_primary_key or (0,)
    if writers:
        ended = [{"writer_id": writer_id, "deletion": number} for writer_id in writers]
        connection.execute(insert(DELETED_WRITERS), ended)
    _remember(connection, list(doomed), number)
    for child, parent in pinned(branches, doomed).items():
        by_name = and_(_BRANCHES.c.branch_id == child, _BRANCHES.c.parent_branch_id == "")
        changed = update(_BRANCHES).where(by_name, _BRANCHES.c.parent_run_id != "")
        connection.execute(changed.values(parent_branch_id=parent))
    for former_id, buried_id in doomed.items():
        _bury(connection, former_id, buried_id)
    _clear_name(connection, name)
    gone, objects = _sweep(connection)
    kept = len(set(doomed.values()) - gone)
    named = _scalars(connection, _OBJECTS, _PIECES.c.object_id, list(objects))
    unnamed = frozenset(objects.difference(named))
    return Deletion(frozenset(doomed), frozenset(writers), frozenset(heirs), kept, unnamed)


def _remember(connection: Connection, branch_ids: Sequence[str], number: int) -> None:
    """The ids of what is deleted; one that was deleted before was given again since."""
    for chunk in chunks(branch_ids):
        again = DELETED_BRANCHES.c.branch_id.in_(chunk)
        connection.execute(delete(DELETED_BRANCHES).where(again))
        rows = [{"branch_id": branch_id, "deletion": number} for branch_id in chunk]
        connection.execute(insert(DELETED_BRANCHES), rows)


def _clear_name(connection: Connection, name: Name) -> None:
    """What lies under the run's name, beside its branches."""
    entity, project, run_id = name
    for table in (WANDB_SESSIONS, USES):
        of = table.c
        named = and_(of.entity == entity, of.project == project, of.run_id == run_id)
        connection.execute(delete(table).where(named))
    of = ARTIFACTS.c
    logged = and_(of.run_entity == entity, of.run_project == project, of.run_id == run_id)
    nobody = {"run_entity": "", "run_project": "", "run_id": ""}
    connection.execute(update(ARTIFACTS).where(logged).values(nobody))


def _related(connection: Connection, name: Name) -> list[facts.BranchFact]:
    """What was said of the branches of a name, and of those that left one of them."""
    entity, project, run_id = name
    table = _BRANCHES.c
    own = and_(table.entity == entity, table.project == project, table.run_id == run_id)
    by_name = and_(
        table.parent_entity == entity,
        table.parent_project == project,
        table.parent_run_id == run_id,
        table.parent_branch_id == "",
    )
    ids = select(table.branch_id).where(own).distinct()
    # All that was said of each, else what settles them would be left out.
    related = select(table.branch_id).where(or_(own, by_name, table.parent_branch_id.in_(ids)))
    rows = connection.execute(select(_BRANCHES).where(table.branch_id.in_(related)))
    return [facts.BranchFact(*row[1:]) for row in rows]


def _bury(connection: Connection, former_id: str, buried_id: str) -> None:
    for table in _BY_BRANCH:
        values: dict[str, Any] = {"branch_id": buried_id}
        if table is _BRANCHES:
            values["entity"] = facts.BURIED_ENTITY
        connection.execute(update(table).where(table.c.branch_id == former_id).values(values))
    for table in (CONSOLE_LINES, CONSOLES):  # which no heir shows
        connection.execute(delete(table).where(table.c.branch_id == former_id))
    heirs = update(_BRANCHES).where(_BRANCHES.c.parent_branch_id == former_id)
    connection.execute(heirs.values(parent_branch_id=buried_id))
    connection.execute(
        insert(BURIALS).values(
            branch_id=buried_id, former_id=former_id, is_settled=False, is_kept=True
        )
    )


def _sweep(connection: Connection) -> tuple[set[str], set[str]]:
    """Removes buried branches that nobody descends from, and then those that only these did.

    Returns them, and the objects that pieces of their files were kept as.
    """
    child = _BRANCHES.alias("child")
    has_heir = select(child.c.id).where(child.c.parent_branch_id == BURIALS.c.branch_id).exists()
    asked = select(BURIALS.c.branch_id).where(BURIALS.c.is_kept, ~has_heir)
    gone: set[str] = set()
    objects: set[str] = set()
    while found := [row[0] for row in connection.execute(asked)]:
        for chunk in chunks(found):
            objects |= _remove_facts(connection, chunk)
            changed = update(BURIALS).where(BURIALS.c.branch_id.in_(chunk))
            connection.execute(changed.values(is_kept=False))
        gone.update(found)
    return gone, objects


def _remove_facts(connection: Connection, branch_ids: Sequence[str]) -> set[str]:
    """Returns the objects that pieces of files were kept as."""
    routes = select(_ROUTES.c.writer_id).where(_ROUTES.c.branch_id.in_(branch_ids)).distinct()
    writers = [row[0] for row in connection.execute(routes)]
    for table in _BY_BRANCH:
        connection.execute(delete(table).where(table.c.branch_id.in_(branch_ids)))
    left = set(_scalars(connection, select(_ROUTES.c.writer_id), _ROUTES.c.writer_id, writers))
    alone = [writer_id for writer_id in writers if writer_id not in left]
    objects = set(_scalars(connection, _OBJECTS, _PIECES.c.writer_id, alone))
    for chunk in chunks(alone):
        for table in (*_BY_WRITER, LIFE_SIGNS):
            connection.execute(delete(table).where(table.c.writer_id.in_(chunk)))
    return objects


def _scalars(
    connection: Connection, asked: Select[Any], column: Any, values: Sequence[Any]
) -> Iterable[Any]:
    for chunk in chunks(values):
        for row in connection.execute(asked.where(column.in_(chunk))):
            yield row[0]


def _new_id() -> str:
    return f"deleted-{secrets.token_hex(_ID_BYTES)}"
