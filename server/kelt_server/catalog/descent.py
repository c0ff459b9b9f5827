"""Branches along their lines of descent: what they come from, and what was forked from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    tuple_,
)

from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.catalog.statements import chunks
from kelt_server.catalog.tables import FACT_TABLES

_BRANCHES = FACT_TABLES[facts.BranchFact]
NAME_COLUMNS = (_BRANCHES.c.entity, _BRANCHES.c.project, _BRANCHES.c.run_id)


def family_branches(
    connection: Connection, names: Collection[Name], branch_ids: Collection[str]
) -> list[facts.BranchFact]:
    """The facts about branches of names, of those that they descend from, and of their names.

    The database follows the lines of descent: a question for each generation would take longer
    than all else that is asked of a deep fork.
    """
    found: dict[int, facts.BranchFact] = {}
    asked: list[tuple[Select[Any], Sequence[Any]]] = [
        (_DESCENT_OF_IDS, chunk) for chunk in chunks(list(branch_ids))
    ]
    asked += [(_DESCENT_OF_NAMES, chunk) for chunk in chunks(list(names))]
    for statement, seeds in asked:
        for row in connection.execute(statement, {"seeds": list(seeds)}):
            found[row.id] = facts.BranchFact(*row[1:])
    return [found[number] for number in sorted(found)]


def names_of_forks(connection: Connection, name: Name, branch_ids: Collection[str]) -> list[Name]:
    """The names that were forked from branches, the newest first.

    Also those whose host knew no more than the name that they left: which of its branches held it
    then is the caller's to find out.
    """
    entity, project, run_id = name
    parent = _BRANCHES.c
    by_name = and_(
        parent.parent_branch_id == "",
        parent.parent_entity == entity,
        parent.parent_project == project,
        parent.parent_run_id == run_id,
    )
    conditions: Iterable[ColumnElement[bool]] = [
        by_name,
        *(parent.parent_branch_id.in_(chunk) for chunk in chunks(sorted(branch_ids))),
    ]
    made_at: dict[Name, float] = {}
    for condition in conditions:
        asked = select(*NAME_COLUMNS, func.min(parent.made_at)).where(
            condition, parent.kind == facts.FORKED
        )
        for row in connection.execute(asked.group_by(*NAME_COLUMNS)):
            fork = (row[0], row[1], row[2])
            made_at[fork] = min(row[3], made_at.get(fork, row[3]))
    return sorted(made_at, key=lambda fork: (-made_at[fork], fork))


def _descent(seed: ColumnElement[bool]) -> Select[Any]:
    """Facts of the names of the seed and of all names above them. UNION ends at what is known."""
    line = select(*NAME_COLUMNS).where(seed).cte("line", recursive=True)
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
_DESCENT_OF_NAMES = _descent(tuple_(*NAME_COLUMNS).in_(_SEEDS))
