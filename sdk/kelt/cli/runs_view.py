"""Runs as a terminal shows them. Pure: runs in, lines and cells out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kelt.cli.terminal import Column
from kelt.cli.wording import age, count, plain, shown
from kelt.sparkline import sparkline

if TYPE_CHECKING:
    from kelt.api_client import Ancestor, Bucket, Run, Writer

LIST_COLUMNS = (
    Column("RUN", is_kept=True),
    Column("NAME"),
    Column("STATE", is_kept=True),
    Column("REASON"),
    Column("ROWS", is_number=True, is_kept=True),
    Column("STEP", is_number=True, is_kept=True),
    Column("FROM"),
    Column("AGE", is_number=True, is_kept=True),
)
WRITER_COLUMNS = (
    Column("  WRITER", is_kept=True),
    Column("STATE", is_kept=True),
    Column("HOST"),
    Column("ROWS", is_number=True, is_kept=True),
    Column("STEP", is_number=True),
    Column("LAST ROW", is_number=True),
    Column("REASON"),
)
#: Metrics that get a curve in `runs show`.
CURVES_MAX = 20
#: Forks that are named there.
FORKS_MAX = 20


def list_row(
    run: Run, *, now: float, project: str | None = None, has_entity: bool = False
) -> list[str]:
    """A run's line in `runs ls`.

    Args:
        run: the run.
        now: the time of day.
        project: that need not be repeated.
        has_entity: whether runs of several entities are listed.
    """
    reason = _short(run.state_reason)
    if run.state == "running" and run.raw["offline_since"] is not None:
        reason = f"silent for {age(now - run.raw['offline_since'])}"
    if run.lost_rows:
        reason = f"{count(run.lost_rows, 'row')} lost; {reason}".rstrip("; ")
    elif run.problems:
        reason = f"{count(len(run.problems), 'problem')}; {reason}".rstrip("; ")
    path = run.path if has_entity else run.path[2:] if run.project == project else run.path[1:]
    return [
        "/".join(path),
        run.name,
        run.state,
        reason,
        str(run.rows),
        str(run.last_step) if run.last_step >= 0 else "-",
        origin(run),
        age(None if run.raw["created_at"] is None else now - run.raw["created_at"]),
    ]


def _short(reason: str) -> str:
    """A reason in a column of a table, where the name of a signal is what is asked first."""
    return re.sub(r"^killed by (SIG\w+) \(signal \d+\)", r"\1", reason)


def origin(run: Run) -> str:
    """Where a run's history begins, in a few words."""
    if not run.lineage:
        return ""
    nearest = run.lineage[0]
    if nearest.kind == "forked":
        return f"{nearest.run_id or nearest.immutable_id} @{nearest.fork_step}"
    # A session that did not know the run continues all of it, wherever it ends.
    return nearest.kind if nearest.fork_step is None else f"{nearest.kind} @{nearest.fork_step}"


def lineage_lines(run: Run, archived: Sequence[Run], forks: Sequence[Run]) -> list[str]:
    """The way back to the first branch as a small tree, what a rewind archived, what was forked."""
    lines = [_branch(run.id, run.immutable_id)]
    for depth, parent in enumerate(run.lineage):
        verb = {"forked": "forked from", "rewound": "rewound from", "continued": "continues"}
        point = "the end" if parent.fork_step is None else f"step {parent.fork_step}"
        lines.append(
            f"{'   ' * depth}└─ {verb.get(parent.kind, parent.kind)} {point} of "
            f"{_parent_name(parent, run)}"
        )
    lines += [
        f"archived: {_branch(branch.id, branch.immutable_id)}, {_extent(branch)}"
        for branch in archived
    ]
    lines += [
        f"forked at step {_left_at(fork, run)}: {_fork_name(fork, run)}, {fork.state}, "
        f"{_extent(fork)}"
        for fork in forks[:FORKS_MAX]
    ]
    if len(forks) > FORKS_MAX:
        lines.append(f"and {count(len(forks) - FORKS_MAX, 'more fork')}")
    return [plain(line) for line in lines]


def _extent(run: Run) -> str:
    return f"{count(run.rows, 'row')}, last step {run.last_step}" if run.rows else "no rows"


def _fork_name(fork: Run, run: Run) -> str:
    if fork.is_archived:
        return _branch(fork.id, fork.immutable_id)
    return fork.id if fork.path[:2] == run.path[:2] else "/".join(fork.path)


def _left_at(fork: Run, run: Run) -> str:
    """The last step that a fork has of a run."""
    for parent in fork.lineage:
        if parent.kind == "forked" and [parent.entity, parent.project, parent.run_id] == run.path:
            return str(parent.fork_step)
    return "?"


def _branch(run_id: str, immutable_id: str) -> str:
    return f"{run_id} ({immutable_id})"


def _parent_name(parent: Ancestor, run: Run) -> str:
    name = _branch(parent.run_id or "?", "deleted" if parent.is_deleted else parent.immutable_id)
    if parent.project != run.project and parent.project:
        name = f"{parent.project}/{name}"
    if parent.is_known:
        return name
    return (
        f"{name}, {'before this one arrived' if parent.is_deleted else 'which has not arrived yet'}"
    )


def facts(run: Run, *, now: float) -> list[tuple[str, str]]:
    """What `runs show` says of a run above its values."""
    state = f"{run.state}: {run.state_reason}" if run.state_reason else run.state
    if run.raw["offline_since"] is not None:
        state += f" (silent for {age(now - run.raw['offline_since'])})"
    steps = f", last step {run.last_step}" if run.rows else ""
    listed = [
        ("name", run.name),
        ("state", state),
        ("immutable id", run.immutable_id + (" (archived)" if run.is_archived else "")),
        ("rows", f"{run.rows:,}{steps}"),
        ("created", _moment(run.created_at, run.raw["created_at"], now)),
        ("last seen", _moment(run.heartbeat_at, run.raw["heartbeat_at"], now)),
        ("host", run.host),
        ("tags", ", ".join(run.tags)),
        ("group", run.group),
        ("job type", run.job_type),
        ("notes", run.notes),
        ("url", run.url),
    ]
    listed += [
        ("lost", f"{count(lost.rows, 'row')} of writer {lost.writer_id}: {lost.reason}")
        for lost in run.losses
    ]
    listed += [("problem", problem) for problem in run.problems]
    return [(title, plain(text)) for title, text in listed if text]


def writer_row(writer: Writer, *, now: float) -> list[str]:
    """A writer's line in `runs show`."""
    reason = _short(writer.state_reason)
    if writer.state == "running" and writer.offline_since is not None:
        reason = f"silent for {age(now - writer.offline_since)}"
    return [
        plain(f"  {writer.label}{' (primary)' if writer.is_primary else ''}"),
        writer.state,
        plain(f"{writer.host} · {writer.pid}"),
        f"{writer.rows:,}",
        str(writer.last_step) if writer.rows else "-",
        "-" if writer.last_row_at is None else f"{age(now - writer.last_row_at)} ago",
        plain(reason),
    ]


def _moment(text: str | None, seconds: float | None, now: float) -> str:
    return "" if text is None or seconds is None else f"{text} ({age(now - seconds)} ago)"


def numeric_metrics(summary: Mapping[str, Any]) -> list[str]:
    """The metrics that have a curve to show, at most `CURVES_MAX`."""
    found = [
        key
        for key, value in sorted(summary.items())
        if isinstance(value, int | float) and not isinstance(value, bool) and key[:1] != "_"
    ]
    return found[:CURVES_MAX]


def curve(buckets: Sequence[Bucket], *, width: int = 30) -> str:
    """A metric's course."""
    return sparkline([math.nan if b.mean is None else b.mean for b in buckets], width=width)


def tail_line(row: Mapping[str, Any]) -> str:
    """A row of the history on one line."""
    values = "  ".join(
        f"{plain(key)}={shown(value, characters_max=24)}"
        for key, value in row.items()
        if key not in {"_step", "_timestamp", "_runtime"}
    )
    return f"{row['_step']:>8}  {values}"


def run_json(run: Run) -> dict[str, Any]:
    """A run for scripts: what the read API says, and the address of its page."""
    return {**run.raw, "url": run.url}
