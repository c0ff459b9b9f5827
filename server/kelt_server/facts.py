"""Facts: what records said, one by one, as the catalog keeps them.

A fact is never changed. Everything that people see is resolved from facts when it is read.
`(writer_id, seq)` names the record that said it; the clocks are those of the host that wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: How a branch began.
CREATED, FORKED, REWOUND, CONTINUED = "created", "forked", "rewound", "continued"
#: Written by many at a time; goes on with whatever its name pointed at before, like a continuation.
SHARED = "shared"
#: These take in the whole history of what held their name before, and do not archive it.
GOING_ON = (CONTINUED, SHARED)
#: A session went on with a branch whose beginning has not arrived.
RESUMED = "resumed"
#: As a session's `resume_mode`: no process writes the run, somebody changes what is said of it.
EDIT = "edit"
#: The record that said where these records belong was lost.
ORPHAN = "orphan"
#: Of the branches of deleted runs that others descend from: nobody's, so no name leads to them.
BURIED_ENTITY = ""


@dataclass(frozen=True, slots=True)
class BranchFact:
    """A record said that this branch exists. Several may; `branch_names.settle` picks one.

    `parent_step` is the last inherited step, None for a continuation, which takes everything.
    `parent_branch_id` is empty where the host knew only the parent's name.
    """

    branch_id: str
    writer_id: bytes
    seq: int
    entity: str
    project: str
    run_id: str
    kind: str
    made_at: float
    parent_entity: str = ""
    parent_project: str = ""
    parent_run_id: str = ""
    parent_branch_id: str = ""
    parent_step: int | None = None

    @property
    def name(self) -> tuple[str, str, str]:
        """The name that this branch was given."""
        return self.entity, self.project, self.run_id


@dataclass(frozen=True, slots=True)
class SessionFact:
    """A process opened a run."""

    writer_id: bytes
    seq: int
    branch_id: str
    started_at: float
    point_unknown: bool = False
    resume_mode: str = ""
    hostname: str = ""
    machine_id: str = ""
    boot_id: str = ""
    pid: int = 0
    program: str = ""
    python: str = ""
    sdk_version: str = ""
    #: One of several writers at a time; only these have a label.
    is_shared: bool = False
    is_primary: bool = False
    label: str = ""
    #: Of records that were read from a file of W&B's client: the writer of that client's session
    #: where it was here before, else this writer itself. Empty of all others.
    retells: bytes = b""
    #: What is added to the steps of such a writer that count from the end of what its run resumed.
    retold_base: int = 0


@dataclass(frozen=True, slots=True)
class RouteFact:
    """From this record on, the writer's records belong to this branch."""

    writer_id: bytes
    from_seq: int
    branch_id: str


@dataclass(frozen=True, slots=True)
class InfoFact:
    """What people see of a run; None where it stays as it was. `tags` is a JSON list."""

    branch_id: str
    writer_id: bytes
    seq: int
    name: str | None = None
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: str | None = None


class ConfigFact(NamedTuple):
    """One top-level config value was set, or removed. A tuple: a project has a million of them."""

    branch_id: str
    writer_id: bytes
    seq: int
    index: int  # type: ignore[assignment] # a field, not the tuple's method
    at: float
    key: str
    json: str
    removed: bool


class SummaryFact(NamedTuple):
    """One summary value was set by hand, or given back. A tuple, likewise."""

    branch_id: str
    writer_id: bytes
    seq: int
    index: int  # type: ignore[assignment]
    step: int
    key: str
    json: str
    removed: bool


@dataclass(frozen=True, slots=True)
class DefinitionFact:
    """How a metric, or all that a glob matches, is summarised and drawn."""

    branch_id: str
    writer_id: bytes
    seq: int
    name: str
    step_metric: str
    summary: str
    goal: str
    hidden: bool
    step: int


@dataclass(frozen=True, slots=True)
class ExitFact:
    """The process said goodbye."""

    writer_id: bytes
    seq: int
    exit_code: int
    reason: str
    signal: int
    at: float


@dataclass(frozen=True, slots=True)
class LossFact:
    """Records of `writer_id` cannot be had; `by_writer_id` says so, or this server does.

    `first_seq` is 0 where the rows never got a number.
    """

    writer_id: bytes
    by_writer_id: bytes
    by_seq: int
    first_seq: int
    last_seq: int
    rows: int
    reason: str
    by_server: bool = False


@dataclass(frozen=True, slots=True)
class AssertionFact:
    """What a daemon knew of a writer of its own host; `state` is Assertion.State."""

    writer_id: bytes
    by_writer_id: bytes
    by_seq: int
    state: int
    reason: str
    exit_code: int
    signal: int
    at: float


class ConsoleFact(NamedTuple):
    """A line of the console, as it stood then; a later one with its number takes its place."""

    branch_id: str
    writer_id: bytes
    seq: int
    number: int
    stream: int
    at: float
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class FilePieceFact:
    """A piece of a file of `writer_id`'s session is here, with the object that holds it.

    `version` is the digest of the whole file, `object_id` that of the piece.
    """

    writer_id: bytes
    by_writer_id: bytes
    by_seq: int
    name: str
    version: str
    size_bytes: int
    offset_bytes: int
    length_bytes: int
    object_id: str
    at: float


@dataclass(frozen=True, slots=True)
class LifeSign:
    """When the server last heard of a writer, by the server's clock. Changes with time."""

    writer_id: bytes
    at: float
    stalled: bool


Fact = (
    BranchFact
    | SessionFact
    | RouteFact
    | InfoFact
    | ConfigFact
    | SummaryFact
    | DefinitionFact
    | ExitFact
    | LossFact
    | AssertionFact
    | ConsoleFact
    | FilePieceFact
)
