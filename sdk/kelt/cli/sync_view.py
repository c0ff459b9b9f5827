"""What `kelt sync` shows: what waits, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kelt.cli.terminal import Column
from kelt.cli.wording import age, count, size

if TYPE_CHECKING:
    from kelt.syncing.engine import SyncPlan
    from kelt.syncing.outcome import SyncedRun, SyncResult
    from kelt.syncing.survey import RunOnDisk

COLUMNS = (
    Column("RUN"),
    Column("STATE", is_kept=True),
    Column("AGE", is_number=True, is_kept=True),
    Column("ROWS", is_number=True, is_kept=True),
    Column("RECORDS", is_number=True, is_kept=True),
    Column("SIZE", is_number=True, is_kept=True),
    Column("WHY IT WAITS"),
)
_UPSTREAM = Column("UPSTREAM")


def table(
    plan: SyncPlan, *, status: Mapping[str, Any] | None, now: float
) -> tuple[list[Column], list[list[str]]]:
    """Columns and cells: a run that waits each. The upstream is said once where it is one."""
    rows = _rows(plan, status=status, now=now)
    targets = [plan.upstream or run.upstream for run in plan.runs]
    if len(set(targets)) <= 1:
        return list(COLUMNS), rows
    columns = [*COLUMNS[:-1], _UPSTREAM, COLUMNS[-1]]
    return columns, [
        [*row[:-1], target, row[-1]] for row, target in zip(rows, targets, strict=True)
    ]


def _rows(plan: SyncPlan, *, status: Mapping[str, Any] | None, now: float) -> list[list[str]]:
    return [
        [
            run.name,
            run.state,
            age(now - run.started_at) if run.started_at else "-",
            f"{run.waiting.rows:,}",
            f"{run.waiting.records:,}",
            size(run.size_bytes),
            _reason(run, status, target=plan.upstream or run.upstream),
        ]
        for run in plan.runs
    ]


def _reason(run: RunOnDisk, status: Mapping[str, Any] | None, *, target: str) -> str:
    lost = f"{count(run.waiting.lost_rows, 'row')} lost; " if run.waiting.lost_rows else ""
    if run.original is not None and run.is_waiting and not run.problem:
        tracker = "W&B" if run.source is None else run.source.tracker
        return f"{lost}{tracker}'s {'file' if run.original.is_file() else 'folder'}"
    return lost + (run.problem or _waits_for(run, status, target=target))


def _waits_for(run: RunOnDisk, status: Mapping[str, Any] | None, *, target: str) -> str:
    if not run.is_waiting:
        return "upstream already, it seems"
    if run.is_held or target != run.upstream:
        return "offline, until synced" if run.is_held else "not sent there yet"
    if status is None:
        return "no daemon runs"
    for known in status["runs"]:
        if known["path"] == str(run.path) and known["problem"]:
            return str(known["problem"])
    for upstream in status["upstreams"]:
        if upstream["url"] == run.upstream and upstream["state"] != "reachable":
            return f"the upstream is {upstream['state']}"
    return "being sent" if run.state == "running" else "not yet upstream"


def waiting_totals(plan: SyncPlan) -> str:
    """The sum of what waits."""
    rows = sum(run.waiting.rows for run in plan.runs)
    records = sum(run.waiting.records for run in plan.runs)
    size_bytes = sum(run.size_bytes for run in plan.runs)
    return (
        f"{count(len(plan.runs), 'run')}: {count(rows, 'row')} in {count(records, 'record')}, "
        f"{size(size_bytes)} on disk{_target(plan)}."
    )


def _target(plan: SyncPlan) -> str:
    targets = {plan.upstream or run.upstream for run in plan.runs} - {""}
    return f", for {targets.pop()}" if len(targets) == 1 else ""


def run_sentence(run: SyncedRun) -> str:
    """What came of a run, in a line."""
    numbers = (
        f"{count(run.sent, 'record')} sent ({count(run.rows, 'row')}), {run.skipped:,} skipped"
    )
    if run.lost_rows:
        numbers += f", {count(run.lost_rows, 'row')} lost"
    if run.is_synced:
        return f"{run.name}: synced to {run.upstream}: {numbers}"
    if run.error:
        return f"{run.name}: NOT synced: {run.error}"
    return f"{run.name}: NOT synced: {run.committed:,} of {count(run.records, 'record')} upstream"


def totals(result: SyncResult) -> list[str]:
    """The last lines: exact sums."""
    sent = (
        f"{count(result.records_sent, 'record')} ({count(result.rows_sent, 'row')})"
        f", {result.records_skipped:,} skipped because they are there already"
    )
    if result.is_dry_run:
        lines = [f"Would send {sent}. Nothing was sent."]
    else:
        of_all = f" of {len(result.runs):,}" if result.synced < len(result.runs) else ""
        noun = "run" if len(result.runs) == 1 else "runs"
        lines = [f"Synced {result.synced:,}{of_all} {noun}: sent {sent}."]
    if result.lost_rows:
        lines.append(
            f"{count(result.lost_rows, 'row')} had been lost before; their runs show where."
        )
    return lines


def run_dict(run: SyncedRun) -> dict[str, Any]:
    """A run for scripts."""
    return {
        "path": str(run.path),
        "entity": run.entity,
        "project": run.project,
        "run_id": run.run_id,
        "upstream": run.upstream,
        "is_synced": run.is_synced,
        "records": run.records,
        "committed": run.committed,
        "sent": run.sent,
        "skipped": run.skipped,
        "rows": run.rows,
        "lost_rows": run.lost_rows,
        "error": run.error,
        "note": run.note,
    }


def result_dict(result: SyncResult) -> dict[str, Any]:
    """The totals for scripts."""
    return {
        "runs": len(result.runs),
        "synced": result.synced,
        "records_sent": result.records_sent,
        "records_skipped": result.records_skipped,
        "rows_sent": result.rows_sent,
        "lost_rows": result.lost_rows,
        "is_dry_run": result.is_dry_run,
        "error": result.error,
    }
