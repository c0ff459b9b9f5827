"""The catalog on SQLAlchemy Core. Errors of the database come out as `StoreError`."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, func, insert, select, update

from kelt_server import facts
from kelt_server.branch_names import Branches, Name
from kelt_server.catalog import console_lines
from kelt_server.catalog.console_lines import ConsoleKept, KeptLine
from kelt_server.catalog.deletions import Deletions, writers_deleted
from kelt_server.catalog.descent import NAME_COLUMNS, family_branches, names_of_forks
from kelt_server.catalog.fact_rows import facts_by, grouped, load_facts, replace_rows, row_of
from kelt_server.catalog.statements import chunks, transaction
from kelt_server.catalog.stops import Stops
from kelt_server.catalog.store import Family
from kelt_server.catalog.tables import CURSORS, FACT_TABLES, IDENTITY, LIFE_SIGNS
from kelt_server.ingest.writer_state import WriterState
from kelt_server.retellings import folded

_BRANCHES = FACT_TABLES[facts.BranchFact]


class SqlCatalog:
    """A `Catalog` on an engine whose schema is up to date."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.deletions = Deletions(engine)
        self.stops = Stops(engine)
        self._server_id = self._identify()

    def _identify(self) -> str:
        with transaction(self._engine) as connection:
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
        with transaction(self._engine) as connection:
            connection.execute(
                update(IDENTITY).where(IDENTITY.c.key == "server_id").values(value=made)
            )
        self._server_id = made

    # -- writing -------------------------------------------------------------------------------

    def writer_states(self, writer_ids: Collection[bytes]) -> dict[bytes, WriterState]:
        """See Catalog."""
        ids = list(writer_ids)
        with transaction(self._engine) as connection:
            cursors: dict[bytes, int] = {
                row.writer_id: row.committed_through
                for chunk in chunks(ids)
                for row in connection.execute(select(CURSORS).where(CURSORS.c.writer_id.in_(chunk)))
            }
            heard = list(cursors)  # no cursor, nothing said: others may have told its losses
            routes = facts_by(connection, facts.RouteFact, "writer_id", heard)
            losses = facts_by(connection, facts.LossFact, "writer_id", ids)
            sessions = {
                fact.writer_id: fact
                for fact in load_facts(connection, facts.SessionFact, "writer_id", heard)
            }
            opened = {writer_id: fact.branch_id for writer_id, fact in sessions.items()}
            said = load_facts(connection, facts.BranchFact, "branch_id", list(set(opened.values())))
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
        with transaction(self._engine) as connection:
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
        with transaction(self._engine) as connection:
            console_lines.store(connection, by_kind.pop(facts.ConsoleFact, []))
            for kind, of_kind in by_kind.items():
                connection.execute(insert(FACT_TABLES[kind]), list(map(row_of, of_kind)))
            replace_rows(
                connection,
                CURSORS,
                [{"writer_id": w, "committed_through": seq} for w, seq in cursors.items()],
            )
            replace_rows(connection, LIFE_SIGNS, [row_of(sign) for sign in signs])

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
        with transaction(self._engine) as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(statement)]

    def names(self, entity: str, project: str | None) -> list[Name]:
        """See Catalog."""
        statement = select(*NAME_COLUMNS).distinct().where(_BRANCHES.c.entity == entity)
        if project is not None:
            statement = statement.where(_BRANCHES.c.project == project)
        with transaction(self._engine) as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(statement)]

    def name_of(self, branch_id: str) -> Name | None:
        """See Catalog."""
        with transaction(self._engine) as connection:
            said = load_facts(connection, facts.BranchFact, "branch_id", [branch_id])
        settled = Branches(said).by_id.get(branch_id)
        return None if settled is None else settled.name

    def names_of_forks(self, name: Name, branch_ids: Collection[str]) -> list[Name]:
        """See Catalog."""
        with transaction(self._engine) as connection:
            return names_of_forks(connection, name, branch_ids)

    def family(self, names: Collection[Name], branch_ids: Collection[str] = ()) -> Family:
        """See Catalog."""
        with transaction(self._engine) as connection:
            said = family_branches(connection, names, branch_ids)
            branches = Branches(said, self.deletions.known_of(connection, said))
            ids = list(branches.by_id)
            routes = load_facts(connection, facts.RouteFact, "branch_id", ids)
            writers = list({route.writer_id for route in routes})
            found = Family(
                branches=branches,
                sessions={
                    fact.writer_id: fact
                    for fact in load_facts(connection, facts.SessionFact, "writer_id", writers)
                },
                writers_of={
                    branch_id: sorted({route.writer_id for route in of_branch})
                    for branch_id, of_branch in grouped(routes, "branch_id").items()
                },
                infos=facts_by(connection, facts.InfoFact, "branch_id", ids),
                configs=facts_by(connection, facts.ConfigFact, "branch_id", ids),
                summaries=facts_by(connection, facts.SummaryFact, "branch_id", ids),
                definitions=facts_by(connection, facts.DefinitionFact, "branch_id", ids),
                exits={
                    fact.writer_id: fact
                    for fact in load_facts(connection, facts.ExitFact, "writer_id", writers)
                },
                losses=facts_by(connection, facts.LossFact, "writer_id", writers),
                assertions=facts_by(connection, facts.AssertionFact, "writer_id", writers),
                life_signs={
                    row.writer_id: facts.LifeSign(row.writer_id, row.at, row.stalled)
                    for chunk in chunks(writers)
                    for row in connection.execute(
                        select(LIFE_SIGNS).where(LIFE_SIGNS.c.writer_id.in_(chunk))
                    )
                },
                stopped=self.stops.of(writers),
            )
        return folded(found)

    def consoles(self, branch_ids: Collection[str]) -> list[ConsoleKept]:
        """See Catalog."""
        with transaction(self._engine) as connection:
            return console_lines.consoles(connection, branch_ids)

    def lines_after(self, console: ConsoleKept, number: int, limit: int) -> list[KeptLine]:
        """See Catalog."""
        with transaction(self._engine) as connection:
            return console_lines.lines_after(connection, console, number, limit)

    def last_lines(self, console: ConsoleKept, limit: int) -> list[KeptLine]:
        """See Catalog."""
        with transaction(self._engine) as connection:
            return console_lines.last_lines(connection, console, limit)

    def file_pieces(self, writer_ids: Collection[bytes]) -> list[facts.FilePieceFact]:
        """See Catalog."""
        with transaction(self._engine) as connection:
            return load_facts(connection, facts.FilePieceFact, "writer_id", list(writer_ids))

    def close(self) -> None:
        """See Catalog."""
        self._engine.dispose()
