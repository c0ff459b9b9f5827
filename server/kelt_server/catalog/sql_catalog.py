"""The catalog on SQLAlchemy Core. Errors of the database come out as `StoreError`."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, get_type_hints

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    Table,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from kelt_server import facts
from kelt_server.branch_names import Branches, Name
from kelt_server.catalog import console_lines
from kelt_server.catalog.console_lines import ConsoleKept, KeptLine
from kelt_server.catalog.deletions import Deletions, writers_deleted
from kelt_server.catalog.stops import Stops
from kelt_server.catalog.store import Family
from kelt_server.catalog.tables import CURSORS, FACT_TABLES, IDENTITY, LIFE_SIGNS
from kelt_server.errors import StoreError
from kelt_server.ingest.writer_state import WriterState
from kelt_server.retellings import folded

_Fact = TypeVar("_Fact")
_Key = TypeVar("_Key")

#: Databases bound the number of values in one statement.
_VALUES_MAX = 500

_BRANCHES = FACT_TABLES[facts.BranchFact]
_NAME_COLUMNS = (_BRANCHES.c.entity, _BRANCHES.c.project, _BRANCHES.c.run_id)


class SqlCatalog:
    """A `Catalog` on an engine whose schema is up to date."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.deletions = Deletions(engine)
        self.stops = Stops(engine)
        self._server_id = self._identify()

    def _identify(self) -> str:
        with self._transaction() as connection:
            found = connection.execute(
                select(IDENTITY.c.value).where(IDENTITY.c.key == "server_id")
            ).scalar()
            if found is not None:
                return str(found)
            made = uuid.uuid4().hex
            connection.execute(insert(IDENTITY).values(key="server_id", value=made))
            return made

    @property
    def engine(self) -> Engine:
        """For tables beside the facts."""
        return self._engine

    @property
    def server_id(self) -> str:
        """See Catalog."""
        return self._server_id

    def renew_identity(self) -> None:
        """Gives the server a new id: what daemons remember of its cursors is void."""
        made = uuid.uuid4().hex
        with self._transaction() as connection:
            connection.execute(
                update(IDENTITY).where(IDENTITY.c.key == "server_id").values(value=made)
            )
        self._server_id = made

    # -- writing -------------------------------------------------------------------------------

    def writer_states(self, writer_ids: Collection[bytes]) -> dict[bytes, WriterState]:
        """See Catalog."""
        ids = list(writer_ids)
        with self._transaction() as connection:
            cursors: dict[bytes, int] = {
                row.writer_id: row.committed_through
                for chunk in _chunks(ids)
                for row in connection.execute(select(CURSORS).where(CURSORS.c.writer_id.in_(chunk)))
            }
            heard = list(cursors)  # no cursor, nothing said: others may have told its losses
            routes = _grouped(_load(connection, facts.RouteFact, "writer_id", heard), "writer_id")
            losses = _grouped(_load(connection, facts.LossFact, "writer_id", ids), "writer_id")
            sessions = {
                fact.writer_id: fact
                for fact in _load(connection, facts.SessionFact, "writer_id", heard)
            }
            opened = {writer_id: fact.branch_id for writer_id, fact in sessions.items()}
            said = _load(connection, facts.BranchFact, "branch_id", list(set(opened.values())))
            deleted = writers_deleted(connection, ids)
        names = {(fact.writer_id, fact.branch_id): fact.name for fact in said}
        unknown = facts.SessionFact(b"", 0, "", 0.0)
        return {
            writer_id: WriterState(
                catalog_cursor=cursors.get(writer_id, 0),
                routes=tuple(sorted(routes.get(writer_id, ()), key=lambda r: r.from_seq)),
                lost=tuple(
                    (loss.first_seq, loss.last_seq)
                    for loss in losses.get(writer_id, ())
                    if loss.by_writer_id != writer_id and loss.first_seq
                ),
                name=names.get((writer_id, opened.get(writer_id, ""))),
                deleted=deleted.get(writer_id),
                retells=sessions.get(writer_id, unknown).retells,
                retold_base=sessions.get(writer_id, unknown).retold_base,
            )
            for writer_id in ids
        }

    def retelling_writers(self) -> list[tuple[str, bytes]]:
        """See Catalog."""
        table = FACT_TABLES[facts.SessionFact].c
        asked = select(table.branch_id, table.writer_id).where(table.retells != b"")
        with self._transaction() as connection:
            return [(row.branch_id, row.writer_id) for row in connection.execute(asked)]

    def commit(
        self,
        said: Sequence[facts.Fact],
        cursors: Mapping[bytes, int],
        signs: Iterable[facts.LifeSign],
    ) -> None:
        """See Catalog."""
        by_kind: dict[type, list[Any]] = {}
        for fact in said:
            by_kind.setdefault(type(fact), []).append(fact)
        with self._transaction() as connection:
            console_lines.store(connection, by_kind.pop(facts.ConsoleFact, []))
            for kind, of_kind in by_kind.items():
                connection.execute(insert(FACT_TABLES[kind]), list(map(_columns, of_kind)))
            _replace_rows(
                connection,
                CURSORS,
                [{"writer_id": w, "committed_through": seq} for w, seq in cursors.items()],
            )
            _replace_rows(connection, LIFE_SIGNS, [_columns(sign) for sign in signs])

    # -- reading -------------------------------------------------------------------------------

    def projects(self) -> list[tuple[str, str, int, float]]:
        """See Catalog."""
        table = _BRANCHES.c
        statement = (
            select(
                table.entity,
                table.project,
                func.count(table.run_id.distinct()),
                func.max(table.made_at),
            )
            .group_by(table.entity, table.project)
            .order_by(table.entity, table.project)
        )
        with self._transaction() as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(statement)]

    def names(self, entity: str, project: str | None) -> list[Name]:
        """See Catalog."""
        statement = select(*_NAME_COLUMNS).distinct().where(_BRANCHES.c.entity == entity)
        if project is not None:
            statement = statement.where(_BRANCHES.c.project == project)
        with self._transaction() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(statement)]

    def name_of(self, branch_id: str) -> Name | None:
        """See Catalog."""
        with self._transaction() as connection:
            said = _load(connection, facts.BranchFact, "branch_id", [branch_id])
        settled = Branches(said).by_id.get(branch_id)
        return None if settled is None else settled.name

    def family(self, names: Collection[Name], branch_ids: Collection[str] = ()) -> Family:
        """See Catalog."""
        with self._transaction() as connection:
            said = _family_branches(connection, names, branch_ids)
            branches = Branches(said, self.deletions.known_of(connection, said))
            ids = list(branches.by_id)
            routes = _load(connection, facts.RouteFact, "branch_id", ids)
            writers = list({route.writer_id for route in routes})
            found = Family(
                branches=branches,
                sessions={
                    fact.writer_id: fact
                    for fact in _load(connection, facts.SessionFact, "writer_id", writers)
                },
                writers_of={
                    branch_id: sorted({route.writer_id for route in of_branch})
                    for branch_id, of_branch in _grouped(routes, "branch_id").items()
                },
                infos=_grouped(_load(connection, facts.InfoFact, "branch_id", ids), "branch_id"),
                configs=_grouped(
                    _load(connection, facts.ConfigFact, "branch_id", ids), "branch_id"
                ),
                summaries=_grouped(
                    _load(connection, facts.SummaryFact, "branch_id", ids), "branch_id"
                ),
                definitions=_grouped(
                    _load(connection, facts.DefinitionFact, "branch_id", ids), "branch_id"
                ),
                exits={
                    fact.writer_id: fact
                    for fact in _load(connection, facts.ExitFact, "writer_id", writers)
                },
                losses=_grouped(
                    _load(connection, facts.LossFact, "writer_id", writers), "writer_id"
                ),
                assertions=_grouped(
                    _load(connection, facts.AssertionFact, "writer_id", writers), "writer_id"
                ),
                life_signs={
                    row.writer_id: facts.LifeSign(row.writer_id, row.at, row.stalled)
                    for chunk in _chunks(writers)
                    for row in connection.execute(
                        select(LIFE_SIGNS).where(LIFE_SIGNS.c.writer_id.in_(chunk))
                    )
                },
                stopped=self.stops.of(writers),
            )
        return folded(found)

    def consoles(self, branch_ids: Collection[str]) -> list[ConsoleKept]:
        """See Catalog."""
        with self._transaction() as connection:
            return console_lines.consoles(connection, branch_ids)

    def lines_after(self, console: ConsoleKept, number: int, limit: int) -> list[KeptLine]:
        """See Catalog."""
        with self._transaction() as connection:
            return console_lines.lines_after(connection, console, number, limit)

    def last_lines(self, console: ConsoleKept, limit: int) -> list[KeptLine]:
        """See Catalog."""
        with self._transaction() as connection:
            return console_lines.last_lines(connection, console, limit)

    def file_pieces(self, writer_ids: Collection[bytes]) -> list[facts.FilePieceFact]:
        """See Catalog."""
        with self._transaction() as connection:
            return _load(connection, facts.FilePieceFact, "writer_id", list(writer_ids))

    def close(self) -> None:
        """See Catalog."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"the catalog cannot be read or written: {cause}") from error


def _family_branches(
    connection: Connection, names: Collection[Name], branch_ids: Collection[str]
) -> list[facts.BranchFact]:
    """The facts about branches of names, of those that they descend from, and of their names.

    The database follows the lines of descent: a question for each generation would take longer
    than all else that is asked of a deep fork.
    """
    found: dict[int, facts.BranchFact] = {}
    asked: list[tuple[Select[Any], Sequence[Any]]] = [
        (_DESCENT_OF_IDS, chunk) for chunk in _chunks(list(branch_ids))
    ]
    asked += [(_DESCENT_OF_NAMES, chunk) for chunk in _chunks(list(names))]
    for statement, seeds in asked:
        for row in connection.execute(statement, {"seeds": list(seeds)}):
            found[row.id] = facts.BranchFact(*row[1:])
    return [found[number] for number in sorted(found)]


def _descent(seed: ColumnElement[bool]) -> Select[Any]:
    """Facts of the names of the seed and of all names above them. UNION ends at what is known."""
    line = select(*_NAME_COLUMNS).where(seed).cte("line", recursive=True)
    child, parent = _BRANCHES.alias("child"), _BRANCHES.alias("parent")
    is_known = and_(child.c.parent_branch_id != "", parent.c.branch_id == child.c.parent_branch_id)
    by_name = and_(child.c.parent_branch_id == "", child.c.parent_run_id != "")
    above = (
        select(
            func.coalesce(parent.c.entity, child.c.parent_entity),
            func.coalesce(parent.c.project, child.c.parent_project),
            func.coalesce(parent.c.run_id, child.c.parent_run_id),
        )
        .select_from(line)
        .join(child, _is_named(child, line))
        .outerjoin(parent, is_known)
        .where(or_(parent.c.id.is_not(None), by_name))
    )
    line = line.union(above)
    return select(_BRANCHES).join(line, _is_named(_BRANCHES, line))


def _is_named(branches: FromClause, line: FromClause) -> ColumnElement[bool]:
    return and_(*(branches.c[name] == line.c[name] for name in ("entity", "project", "run_id")))


_SEEDS: BindParameter[Any] = bindparam("seeds", expanding=True)
_DESCENT_OF_IDS = _descent(_BRANCHES.c.branch_id.in_(_SEEDS))
_DESCENT_OF_NAMES = _descent(tuple_(*_NAME_COLUMNS).in_(_SEEDS))


def _load(
    connection: Connection, kind: type[_Fact], column: str, values: Sequence[Any]
) -> list[_Fact]:
    """The facts of one kind whose column has one of the values; of one value in order of arrival.

    That is the order of the column's index, so nothing is sorted.
    """
    table = FACT_TABLES[kind]
    asked = select(*_field_columns(table)).order_by(table.c[column], table.c.id)
    return [
        kind(*row)
        for chunk in _chunks(values)
        for row in connection.execute(asked.where(table.c[column].in_(chunk))).all()
    ]


def _field_columns(table: Table) -> list[Column[Any]]:
    """The columns after `id` are the fact's fields in order."""
    return list(table.columns)[1:]


def _columns(fact: facts.Fact | facts.LifeSign) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in _FIELDS[type(fact)]}


def _grouped(said: Iterable[_Fact], field: str) -> dict[Any, list[_Fact]]:
    grouped: dict[Any, list[_Fact]] = {}
    for fact in said:
        grouped.setdefault(getattr(fact, field), []).append(fact)
    return grouped


def _chunks(values: Sequence[_Key]) -> Iterator[Sequence[_Key]]:
    for start in range(0, len(values), _VALUES_MAX):
        yield values[start : start + _VALUES_MAX]


def _replace_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Inserts rows in place of those with the same writer. Portable: no dialect's own upsert."""
    if not rows:
        return
    for chunk in _chunks(rows):
        writers = [row["writer_id"] for row in chunk]
        connection.execute(table.delete().where(table.c.writer_id.in_(writers)))
    connection.execute(insert(table), rows)


_FIELDS = {kind: tuple(get_type_hints(kind)) for kind in (*FACT_TABLES, facts.LifeSign)}
