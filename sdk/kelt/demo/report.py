"""The demo's table."""

from __future__ import annotations

from rich.table import Table

from kelt.api_client import Ancestor, Run

_COLOURS = {"finished": "green", "failed": "red", "crashed": "magenta", "running": "blue"}


def result_table(runs: list[Run]) -> Table:
    """One line for each run: state, reason, rows, lineage, final accuracy."""
    table = Table(title="What the server holds", title_justify="left")
    table.add_column("run", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("reason", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("lineage", overflow="fold")
    table.add_column("final accuracy", justify="right")
    for run in runs:
        accuracy = run.summary.get("accuracy")
        colour = _COLOURS.get(run.state, "white")
        table.add_row(
            run.id,
            f"[{colour}]{run.state}[/{colour}]",
            run.state_reason or "",
            str(run.rows),
            ", ".join(_ancestor(ancestor) for ancestor in run.lineage) or "—",
            "" if accuracy is None else f"{accuracy:.4f}",
        )
    return table


def _ancestor(ancestor: Ancestor) -> str:
    point = "" if ancestor.fork_step is None else f"@{ancestor.fork_step}"
    return f"{ancestor.kind} from {ancestor.run_id}{point}"
