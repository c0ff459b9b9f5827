"""One run's page, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from kelt_server.liveness import RUNNING
from kelt_server.pages import output
from kelt_server.pages.amounts import shown_duration, shown_time
from kelt_server.pages.files import ShownFiles
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.layout import Part, facts, run_href, table
from kelt_server.pages.lineage import lineage
from kelt_server.pages.run_list import Run, last_step, origin, place_of, state
from kelt_server.pages.sparkline import charts
from kelt_server.pages.values import value_table
from kelt_server.reader import RunReader
from kelt_server.relatives import Around

_CHARTS_SHOWN = 36
FORKS_SHOWN = 50
_CHART_BUCKETS = 120
#: With more writers than this, their metrics are drawn together.
_LABELS_CHARTED_MAX = 16
#: Of a summary: the head of the page says it better.
_IN_HEAD = ("_step", "_timestamp", "_runtime")


def run_page(
    reader: RunReader, request: Request, run: Run, around: Around, files: ShownFiles
) -> list[Child]:
    """What is below the title.

    Args:
        reader: reads what is open to who asks.
        request: says which part of the long lists is wanted.
        run: as the read API has it.
        around: the same run, with the branches around it.
        files: what is shown of its files.
    """
    where = place_of(run)
    part = Part.asked(request, "forks", FORKS_SHOWN)
    forks = reader.forks(*where, offset=part.begin, limit=part.size)
    metrics = Part.asked(request, "metrics", _CHARTS_SHOWN)
    is_shared = any(session["is_shared"] for session in run["sessions"])
    sessions = [tag("h2", "Writers" if is_shared else "Sessions"), _sessions(run["sessions"])]
    return [
        _headline(run),
        _notices(run),
        sessions if is_shared else "",
        _charts(reader, where, _charted(run), metrics) or _no_rows(run),
        output.system_charts(reader, where, metrics),
        lineage(run, around, forks, part),
        output.console_tail(reader, where),
        tag("h2", "Summary"),
        value_table(run["summary"], files.addresses, left_out=_IN_HEAD),
        tag("h2", "Config"),
        value_table(run["config"], {}),
        *files.sections,
        "" if is_shared else sessions,
    ]


def _headline(run: Run) -> Markup:
    rows = f"{run['rows']:,}" + (f" (last step {last_step(run)})" if run["rows"] else "")
    pairs: list[tuple[str, Child]] = [
        ("Run id", run["run_id"]),
        ("Immutable id", run["immutable_id"]),
        ("From", origin(run)),
        ("Rows", rows),
        ("Created", shown_time(run["created_at"])),
        ("Runtime", shown_duration(run["runtime"])),
        ("Host", run["host"]),
        ("Group", run["group"]),
        ("Job type", run["job_type"]),
        ("Tags", ", ".join(run["tags"])),
        ("Notes", tag("span", run["notes"], class_="text") if run["notes"] else ""),
    ]
    return escaped([tag("p", state(run)), facts(pairs)])


def _notices(run: Run) -> Markup:
    notices: list[Child] = [_linked(problem, run) for problem in run["problems"]]
    notices += [
        f"{loss['rows']} records lost ({_range(loss)}): {loss['reason']}" for loss in run["losses"]
    ]
    if run["rows_step_went_down"]:
        notices.append(f"{run['rows_step_went_down']} rows have a step below one logged before")
    if run["is_archived"]:
        href = run_href((run["entity"], run["project"], run["run_id"]))
        link = tag("a", run["run_id"], href=href)
        notices.append(["This branch is archived: ", link, " is another one now."])
    return (
        tag("ul", [tag("li", notice) for notice in notices], class_="notices")
        if notices
        else Markup("")
    )


def _linked(problem: str, run: Run) -> Child:
    """A sentence; what it names of the archived branches is a link."""
    for branch_id in run["archived"]:
        before, found, after = problem.partition(branch_id)
        if found:
            href = run_href((run["entity"], run["project"], branch_id))
            return [before, tag("a", branch_id, href=href), after]
    return problem


def _range(loss: Mapping[str, Any]) -> str:
    return f"{loss['first_seq']} to {loss['last_seq']}" if loss["first_seq"] else "not numbered"


def _charts(
    reader: RunReader, where: tuple[str, str, str], labels: Sequence[str], part: Part
) -> Markup:
    """Curves, in a shared run those of each writer for themselves; nothing without a metric."""
    keys = {label: reader.rows.keys(*where, label=label) for label in labels}
    every = {key for of_label in keys.values() for key in of_label}
    if not every:
        return Markup("")
    wanted = {label: [key for key in found if part.has(key)] for label, found in keys.items()}
    most = max(map(len, wanted.values()))
    parts: list[Child] = [part.search(len(every), "metrics")]
    for label, found in wanted.items():
        drawn = _charts_of(reader, where, label, found[part.begin : part.end])
        if drawn:
            parts += [tag("h2", label) if label else "", tag("div", drawn, class_="charts")]
    if not most:
        parts.append(tag("p", f"No metric contains {part.text!r}.", class_="quiet"))
    return escaped([*parts, part.links(most, "metrics")])


def _charts_of(
    reader: RunReader, where: tuple[str, str, str], label: str, keys: Sequence[str]
) -> list[Markup]:
    if not keys:
        return []
    found = reader.rows.buckets(
        where, keys, number=_CHART_BUCKETS, step_min=None, step_max=None, label=label
    )
    return charts(keys, found.buckets)


def _no_rows(run: Run) -> Markup:
    shown = "No row has arrived yet." if run["state"] == RUNNING else "It has no rows."
    return tag("p", shown, class_="quiet")


def _charted(run: Run) -> list[str]:
    """Whose curves are drawn for themselves; an empty label stands for all together."""
    labels = sorted(run["labels"], key=_by_label)
    if not 1 <= len(labels) <= _LABELS_CHARTED_MAX:
        return [""]
    of_labels = sum(session["rows"] for session in run["sessions"] if session["label"])
    return labels if run["rows"] == of_labels else ["", *labels]


def _sessions(sessions: Sequence[Run]) -> Markup:
    has_labels = any(session["is_shared"] for session in sessions)
    if has_labels:
        sessions = sorted(sessions, key=lambda s: (not s["is_primary"], *_by_label(s["label"])))
    head = ["Started", "State", "Host", "Program", "Rows", "Last step", "Last row"]
    rows = [
        tag(
            "tr",
            tag("td", _writer(session)) if has_labels else "",
            tag("td", shown_time(session["started_at"]), class_="quiet"),
            tag("td", state(session)),
            tag("td", _process(session)),
            tag("td", session["program"], class_="quiet name"),
            tag("td", f"{session['rows']:,}", class_="number"),
            tag("td", last_step(session), class_="number"),
            tag("td", shown_time(session["last_row_at"]), class_="quiet"),
        )
        for session in sessions
    ]
    if has_labels:
        head.insert(0, "Writer")
    return table(head, rows)


def _process(session: Run) -> str:
    """W&B's clients do not tell their process."""
    pid = session["pid"]
    return f"{session['hostname']} · {pid}" if pid else str(session["hostname"])


def _by_label(label: str) -> tuple[int, str]:
    """rank_2 before rank_10."""
    return len(label), label


def _writer(session: Run) -> Markup:
    note = tag("span", " primary", class_="quiet") if session["is_primary"] else ""
    return escaped([session["label"], note])
