"""The tables of the catalog, one a kind of fact, named by the fact's fields."""

from __future__ import annotations

from typing import Any, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from kelt_server import facts

METADATA = MetaData()


_TYPES: dict[Any, tuple[TypeEngine[Any], bool]] = {
    str: (Text(), False),
    str | None: (Text(), True),
    bytes: (LargeBinary(), False),
    int: (BigInteger(), False),
    int | None: (BigInteger(), True),
    float: (Float(53), False),
    bool: (Boolean(), False),
}


def _fact_table(name: str, fact: type, *, indexed: tuple[tuple[str, ...], ...]) -> Table:
    columns = [Column("id", Integer, primary_key=True)]
    for field, of_type in get_type_hints(fact).items():
        kind, nullable = _TYPES[of_type]
        columns.append(Column(field, kind, nullable=nullable))
    indexes = [Index(f"ix_{name}_{'_'.join(names)}", *names) for names in indexed]
    return Table(name, METADATA, *columns, *indexes)


_BY_BRANCH = (("branch_id",),)
_BY_WRITER = (("writer_id",),)

FACT_TABLES: dict[type, Table] = {
    facts.BranchFact: _fact_table(
        "branches",
        facts.BranchFact,
        indexed=(("branch_id",), ("entity", "project", "run_id"), ("parent_branch_id",)),
    ),
    facts.SessionFact: _fact_table(
        "sessions", facts.SessionFact, indexed=(("writer_id",), ("branch_id",))
    ),
    facts.RouteFact: _fact_table(
        "routes", facts.RouteFact, indexed=(("writer_id",), ("branch_id",))
    ),
    facts.InfoFact: _fact_table("infos", facts.InfoFact, indexed=_BY_BRANCH),
    facts.ConfigFact: _fact_table("configs", facts.ConfigFact, indexed=_BY_BRANCH),
    facts.SummaryFact: _fact_table("summaries", facts.SummaryFact, indexed=_BY_BRANCH),
    facts.DefinitionFact: _fact_table("definitions", facts.DefinitionFact, indexed=_BY_BRANCH),
    facts.ExitFact: _fact_table("exits", facts.ExitFact, indexed=_BY_WRITER),
    facts.LossFact: _fact_table("losses", facts.LossFact, indexed=_BY_WRITER),
    facts.AssertionFact: _fact_table("assertions", facts.AssertionFact, indexed=_BY_WRITER),
    facts.FilePieceFact: _fact_table("file_pieces", facts.FilePieceFact, indexed=_BY_WRITER),
}

Index(
    "ix_branches_parent",
    *(
        FACT_TABLES[facts.BranchFact].c[f"parent_{name}"]
        for name in ("entity", "project", "run_id")
    ),
)

#: The console, as it stands (`catalog.console_lines`).
CONSOLE_LINES = Table(
    "console_lines",
    METADATA,
    Column("branch_id", Text, primary_key=True),
    Column("writer_id", LargeBinary, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("stream", Integer, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("label", Text, nullable=False),
    Column("text", Text, nullable=False),
)

#: What is kept of each console, and what was let go.
CONSOLES = Table(
    "consoles",
    METADATA,
    Column("branch_id", Text, primary_key=True),
    Column("writer_id", LargeBinary, primary_key=True),
    Column("end_number", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("characters", BigInteger, nullable=False),
    Column("lines_dropped", BigInteger, nullable=False),
)

CURSORS = Table(
    "cursors",
    METADATA,
    Column("writer_id", LargeBinary, primary_key=True),
    Column("committed_through", BigInteger, nullable=False),
)

LIFE_SIGNS = Table(
    "life_signs",
    METADATA,
    Column("writer_id", LargeBinary, primary_key=True),
    Column("at", Float(53), nullable=False),
    Column("stalled", Boolean, nullable=False),
)

IDENTITY = Table(
    "identity",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

#: What the wandb door knows of sessions (`kelt_server.wandb_api`).
WANDB_SESSIONS = Table(
    "wandb_sessions",
    METADATA,
    Column("entity", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("run_id", Text, primary_key=True),
    Column("client", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("batch", LargeBinary, nullable=False),
    Column("saved_at", Float(53), nullable=False),
    Index("wandb_sessions_by_age", "saved_at"),
)

#: Every deletion of a run; `is_cleared` once nothing else lies under its name (files and the like).
DELETIONS = Table(
    "deletions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("entity", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("by_user", Text, nullable=False),
    Column("is_cleared", Boolean, nullable=False),
)

#: Of whom nothing is taken any more.
DELETED_WRITERS = Table(
    "deleted_writers",
    METADATA,
    Column("writer_id", LargeBinary, primary_key=True),
    Column("deletion", BigInteger, nullable=False),
)

#: The branches of deleted runs, by the ids that they had: what comes later may descend from them.
DELETED_BRANCHES = Table(
    "deleted_branches",
    METADATA,
    Column("branch_id", Text, primary_key=True),
    Column("deletion", BigInteger, nullable=False),
)

#: Branches of deleted runs under the ids that they were given then; `is_settled` once the metrics
#: store calls them so, `is_kept` while a branch descends from them. Others are to be removed there.
BURIALS = Table(
    "burials",
    METADATA,
    Column("branch_id", Text, primary_key=True),
    Column("former_id", Text, nullable=False),
    Column("is_settled", Boolean, nullable=False),
    Column("is_kept", Boolean, nullable=False),
)

#: Writers whose process somebody asked to stop.
STOPS = Table(
    "stops",
    METADATA,
    Column("writer_id", LargeBinary, primary_key=True),
    Column("at", Float(53), nullable=False),
    Column("by_user", Text, nullable=False),
)
