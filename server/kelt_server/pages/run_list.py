"""Runs as lines of a table, and how a run's state and origin are said in one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.pages.amounts import shown_duration, shown_time
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.layout import run_href, table

Run = Mapping[str, Any]


def run_table(runs: Sequence[Run]) -> Markup:
    """A line for each run."""
    head = ("Run", "State", "Rows", "Last step", "From", "Created", "Runtime")
    body = [
        tag(
            "tr",
            tag("td", tag("a", run["name"], href=href_of(run)), class_="name"),
            tag("td", state(run)),
            tag("td", f"{run['rows']:,}", class_="number"),
            tag("td", last_step(run), class_="number"),
            tag("td", origin(run), class_="quiet name"),
            tag("td", shown_time(run["created_at"]), class_="quiet"),
            tag("td", shown_duration(run["runtime"]), class_="number"),
        )
        for run in runs
    ]
    return table(head, body)


def href_of(run: Run) -> str:
    """A run's page; of a branch that no longer has the name, its own."""
    name = run["immutable_id"] if run["is_archived"] else run["run_id"]
    return run_href((run["entity"], run["project"], name))


def place_of(run: Run) -> Name:
    """By what the run is asked for again: its name is found at once, its branch only after that."""
    holds_name = run["held_by"] == run["immutable_id"]
    return run["entity"], run["project"], run["run_id"] if holds_name else run["immutable_id"]


def last_step(run: Run) -> str:
    """Of a run without rows there is none."""
    return f"{run['last_step']:,}" if run["rows"] else "-"


def state(run: Run) -> Markup:
    """Of a run or a session, with the reason."""
    badge = tag("span", run["state"], class_=f"state {run['state']}")
    note = run["reason"]
    if run["offline_since"]:
        note = f"{note} offline since {shown_time(run['offline_since'])}".strip()
    if run["is_asked_to_stop"]:
        note = f"{note} asked to stop".strip()
    return escaped([badge, " ", tag("span", note, class_="quiet")])


def origin(run: Run) -> Markup:
    """Which run it was forked from, and to which step it was rewound since."""
    parts: list[Child] = []
    for parent in run["lineage"]:
        step = "" if parent["fork_step"] is None else f" at {parent['fork_step']:,}"
        if parent["kind"] == facts.FORKED:
            parts.append(["forked from ", parent_link(parent), step])
            break
        if parent["kind"] == facts.REWOUND and not parts:
            parts.append(f"rewound{step}")
    return escaped([part if number == 0 else [", ", part] for number, part in enumerate(parts)])


def parent_link(parent: Mapping[str, Any]) -> Child:
    """A branch of a lineage; a link where it is there."""
    shown = parent["run_id"] or parent["immutable_id"]
    if parent["is_deleted"]:
        return [shown, " (deleted)"]
    if not parent["known"]:
        return [shown, " (not arrived yet)"]
    href = run_href((parent["entity"], parent["project"], parent["immutable_id"]))
    return tag("a", shown, href=href)
