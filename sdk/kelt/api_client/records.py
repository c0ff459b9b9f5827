"""What a run's reply is made of, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A branch that a run's history comes from.

    Args:
        immutable_id: the branch.
        entity: of the name that the branch was made for.
        project: as `entity`.
        run_id: as `entity`.
        fork_step: the last step that is inherited from it; None where that is all of it.
        kind: how it was left: forked, rewound or continued.
        is_known: whether its records have arrived.
        is_deleted: whether its run was deleted. Its rows up to the fork step are kept if it is
            known, and gone if that was before what descends from it arrived.
    """

    immutable_id: str
    entity: str
    project: str
    run_id: str
    fork_step: int | None
    kind: str
    is_known: bool
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """Records that were accepted and could not be delivered."""

    writer_id: str
    first_seq: int
    last_seq: int
    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Writer:
    """One of the processes that write a shared run at the same time.

    Args:
        label: what it was called.
        is_primary: the run lives and ends with it.
        writer_id: of the process's hold on the run.
        host: where it runs or ran.
        pid: as there.
        state: running, finished, failed, crashed or killed: its own, not the run's.
        state_reason: why, or nothing for a plain finish.
        offline_since: since when a running one has been silent (Unix seconds), or None.
        rows: what it logged of the run's history.
        last_step: of those rows; -1 without one.
        last_row_at: Unix seconds; None without a row.
    """

    label: str
    is_primary: bool
    writer_id: str
    host: str
    pid: int
    state: str
    state_reason: str
    offline_since: float | None
    rows: int
    last_step: int
    last_row_at: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The numbers of one metric in a range of steps; `min`, `max`, `mean` without NaN."""

    from_step: int
    to_step: int
    count: int
    nan: int
    min: float | None
    max: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Project:
    """A project that has runs."""

    entity: str
    name: str
    runs: int
    last_started_at: str | None


def ancestor(data: Mapping[str, Any]) -> Ancestor:
    """One element of a reply's `lineage`."""
    return Ancestor(
        data["immutable_id"],
        data["entity"],
        data["project"],
        data["run_id"],
        data["fork_step"],
        data["kind"],
        data["known"],
        data.get("is_deleted", False),
    )


def loss(data: Mapping[str, Any]) -> Loss:
    """One element of a reply's `losses`."""
    return Loss(
        data["writer_id"], data["first_seq"], data["last_seq"], data["rows"], data["reason"]
    )


def writer(data: Mapping[str, Any]) -> Writer:
    """One element of a reply's `sessions` that is shared."""
    return Writer(
        data["label"],
        data["is_primary"],
        data["writer_id"],
        data["hostname"],
        data["pid"],
        data["state"],
        data["reason"],
        data["offline_since"],
        data["rows"],
        data["last_step"],
        data["last_row_at"],
    )


def bucket(data: Mapping[str, Any]) -> Bucket:
    """One element of a reply's `keys[key]`."""
    return Bucket(
        data["from"],
        data["to"],
        data["count"],
        data["nan"],
        data["min"],
        data["max"],
        data["mean"],
    )
