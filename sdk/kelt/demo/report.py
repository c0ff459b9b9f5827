"""The demo's table."""

from __future__ import annotations

from typing import Any

from rich.table import Table

_COLOURS = {"finished": "green", "failed": "red", "crashed": "magenta", "running": "blue"}


def result_table(runs: list[Any]) -> Table:
    """One line for each run: state, reason, rows, lineage, final accuracy."""
    table = Table(title="What the server holds", title_justify="left")
    for column in ("run", "state", "reason"):
        table.add_column(column, overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("lineage", overflow="fold")
    table.add_column("best accuracy", justify="right")
    for run in runs:
        accuracy = run.summary.get("accuracy")
        colour = _COLOURS.get(run.state, "white")
        table.add_row(
            run.id,
            f"[{colour}]{run.state}[/{colour}]",
            run.state_reason or "",
            str(run.rows),
            " ← ".join(_ancestor(entry) for entry in run.lineage) or "—",
            "" if accuracy is None else f"{accuracy:.4f}",
        )
    return table


def _ancestor(entry: dict[str, Any]) -> str:
    return f"{entry['kind']} from {entry['run_id']} at step {entry['fork_step']}"
