"""Three pages: everything, one project, one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from kelt_server.api.asking import caller_of
from kelt_server.branch_names import Name
from kelt_server.errors import NotFoundError, RunDeletedError
from kelt_server.filters import parse_order
from kelt_server.pages import output
from kelt_server.pages.files import ShownFiles
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.sparkline import charts
from kelt_server.pages.style import STYLE
from kelt_server.pages.times import shown_duration, shown_time
from kelt_server.pages.values import value_table
from kelt_server.reader import RunReader

RUNS_SHOWN_MAX = 200
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'"
_CHARTS_MAX = 24
_CHART_BUCKETS = 120
#: With more writers than this, their metrics are drawn together.
_LABELS_CHARTED_MAX = 16
#: Of a summary: the head of the page says it better.
_IN_HEAD = ("_step", "_timestamp", "_runtime")
#: Columns whose values stand to the right.
_NUMBERS = ("Rows", "Last step", "Runtime")


class _ShowFiles(Protocol):
    def __call__(self, reader: RunReader, run: Name, *, archived: str = "") -> ShownFiles: ...


def _no_files(reader: RunReader, run: Name, *, archived: str = "") -> ShownFiles:
    del reader, run, archived
    return ShownFiles()


class Pages:
    """Pages for people, each of what is open to who asks.

    Args:
        reader: reads runs.
        files: what a run's page shows of the files of a run that is open to who asks.
    """

    def __init__(self, reader: RunReader, files: _ShowFiles = _no_files) -> None:
        self._of_all = reader
        self._files = files

    def _reader(self, request: Request) -> RunReader:
        return self._of_all.seen_by(caller_of(request))

    def routes(self) -> list[Route]:
        """Every page."""
        return [
            Route("/", self.home),
            Route("/{entity}/{project}", self.project),
            Route("/{entity}/{project}/runs/{run}", self.run),
        ]

    def home(self, request: Request) -> Response:
        """Projects with their latest runs."""
        reader = self._reader(request)
        projects = reader.projects()
        parts: list[Child] = []
        for found in projects:
            entity, project = found["entity"], found["project"]
            runs = _runs(reader, entity, project)
            link = tag("a", f"{entity}/{project}", href=_href(entity, project))
            parts.append(tag("section", tag("h2", link), _run_table(runs[:10], len(runs))))
        if not projects:
            parts.append(tag("p", "No run has arrived yet.", class_="quiet"))
        return _page("Projects", parts)

    def project(self, request: Request) -> Response:
        """The runs of one project."""
        entity, project = request.path_params["entity"], request.path_params["project"]
        runs = _runs(self._reader(request), entity, project)
        return _page(
            f"{entity}/{project}", [_run_table(runs[:RUNS_SHOWN_MAX], len(runs))], crumbs=[]
        )

    def run(self, request: Request) -> Response:
        """One run."""
        where = tuple(request.path_params[name] for name in ("entity", "project", "run"))
        entity, project, run_id = where
        reader = self._reader(request)
        try:
            run = reader.run(entity, project, run_id).as_json()
        except (NotFoundError, RunDeletedError) as error:
            return _page("Not here", [tag("p", str(error))], status=404)
        entity, project = run["entity"], run["project"]
        crumb = tag("a", f"{entity}/{project}", href=_href(entity, project))
        is_shared = any(session["is_shared"] for session in run["sessions"])
        archived = run["immutable_id"] if run["is_archived"] else ""
        files = self._files(reader, (entity, project, run["run_id"]), archived=archived)
        sessions = [tag("h2", "Writers" if is_shared else "Sessions"), _sessions(run["sessions"])]
        return _page(
            run["name"],
            [
                _headline(run),
                _notices(run),
                sessions if is_shared else "",
                _charts(reader, (entity, project, run["immutable_id"]), _charted(run)),
                output.system_charts(reader, (entity, project, run["immutable_id"])),
                output.console_tail(reader, (entity, project, run["immutable_id"])),
                _lineage(run),
                tag("h2", "Summary"),
                value_table(run["summary"], files.addresses, left_out=_IN_HEAD),
                tag("h2", "Config"),
                value_table(run["config"], {}),
                *files.sections,
                "" if is_shared else sessions,
            ],
            crumbs=[crumb],
        )


def _runs(reader: RunReader, entity: str, project: str) -> list[dict[str, Any]]:
    return [dict(run) for run in parse_order("-created_at")(reader.runs(entity, project))]


def _charts(reader: RunReader, where: tuple[str, str, str], labels: Sequence[str]) -> Markup:
    """Curves, in a shared run those of each writer for themselves."""
    parts: list[Child] = []
    for label in labels:
        drawn = _charts_of(reader, where, label)
        if drawn:
            parts += [tag("h2", label) if label else "", tag("div", drawn, class_="charts")]
    return escaped(parts or [tag("p", "No row has arrived yet.", class_="quiet")])


def _charts_of(reader: RunReader, where: tuple[str, str, str], label: str) -> list[Markup]:
    keys = reader.rows.keys(*where, label=label)[:_CHARTS_MAX]
    if not keys:
        return []
    found = reader.rows.buckets(
        where, keys, number=_CHART_BUCKETS, step_min=None, step_max=None, label=label
    )
    return charts(keys, found.buckets)


def _page(
    title: str, parts: Iterable[Child], crumbs: Sequence[Child] = (), status: int = 200
) -> HTMLResponse:
    trail: list[Child] = [tag("a", "kelt", href="/", class_="mark")]
    for crumb in crumbs:
        trail += [" / ", crumb]
    document = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", f"{title} · kelt"),
            tag("style", Markup(STYLE)),
        ),
        tag("body", tag("header", trail), tag("main", tag("h1", title), parts)),
        lang="en",
    )
    return HTMLResponse(
        "<!doctype html>" + document,
        status_code=status,
        headers={"Content-Security-Policy": _POLICY},
    )


def _href(entity: str, project: str, run: str | None = None) -> str:
    parts = [entity, project] if run is None else [entity, project, "runs", run]
    return "/" + "/".join(quote(part.encode("utf-8", "replace"), safe="") for part in parts)


def _state(run: Mapping[str, Any]) -> Markup:
    badge = tag("span", run["state"], class_=f"state {run['state']}")
    note = run["reason"]
    if run["offline_since"]:
        note = f"{note} offline since {shown_time(run['offline_since'])}".strip()
    return escaped([badge, " ", tag("span", note, class_="quiet")])


def _run_table(runs: Sequence[Mapping[str, Any]], total: int) -> Markup:
    head = ("Run", "State", "Rows", "Last step", "From", "Created", "Runtime")
    body = [
        tag(
            "tr",
            tag(
                "td",
                tag("a", run["name"], href=_href(run["entity"], run["project"], run["run_id"])),
            ),
            tag("td", _state(run)),
            tag("td", str(run["rows"]), class_="number"),
            tag("td", str(run["last_step"]) if run["rows"] else "-", class_="number"),
            tag("td", _origin(run), class_="quiet"),
            tag("td", shown_time(run["created_at"]), class_="quiet"),
            tag("td", shown_duration(run["runtime"]), class_="number"),
        )
        for run in runs
    ]
    if not runs:
        return tag("p", "No run of this project is here.", class_="quiet")
    more = f"{total - len(runs)} more runs are not shown here." if total > len(runs) else ""
    return escaped([_table(head, body), tag("p", more, class_="quiet") if more else ""])


def _table(head: Sequence[str], rows: Sequence[Markup]) -> Markup:
    names = [
        tag("th", name, class_="number") if name in _NUMBERS else tag("th", name) for name in head
    ]
    table = tag("table", tag("thead", tag("tr", names)), tag("tbody", rows), class_="listed")
    return tag("div", table, class_="wide")


def _origin(run: Mapping[str, Any]) -> str:
    if not run["lineage"]:
        return ""
    parent = run["lineage"][0]
    step = "" if parent["fork_step"] is None else f" @ {parent['fork_step']}"
    return f"{parent['kind']} from {parent['run_id'] or parent['immutable_id']}{step}"


def _headline(run: Mapping[str, Any]) -> Markup:
    pairs = [
        ("Run id", run["run_id"]),
        ("Immutable id", run["immutable_id"]),
        ("Rows", f"{run['rows']} (last step {run['last_step']})"),
        ("Created", shown_time(run["created_at"])),
        ("Runtime", shown_duration(run["runtime"])),
        ("Host", run["host"]),
        ("Group", run["group"]),
        ("Job type", run["job_type"]),
        ("Tags", ", ".join(run["tags"])),
        ("Notes", run["notes"]),
    ]
    shown = [escaped([tag("dt", name), tag("dd", value)]) for name, value in pairs if value]
    return escaped([tag("p", _state(run)), tag("dl", shown)])


def _notices(run: Mapping[str, Any]) -> Markup:
    notices = list(run["problems"])
    notices += [
        f"{loss['rows']} records lost ({_range(loss)}): {loss['reason']}" for loss in run["losses"]
    ]
    if run["rows_step_went_down"]:
        notices.append(f"{run['rows_step_went_down']} rows have a step below one logged before")
    if run["is_archived"]:
        notices.append("This branch is archived: its name points at another one.")
    return (
        tag("ul", [tag("li", notice) for notice in notices], class_="notices")
        if notices
        else Markup("")
    )


def _range(loss: Mapping[str, Any]) -> str:
    return f"{loss['first_seq']} to {loss['last_seq']}" if loss["first_seq"] else "not numbered"


def _lineage(run: Mapping[str, Any]) -> Markup:
    """Nothing of a run that stands alone."""
    if not run["lineage"] and not run["archived"]:
        return Markup("")
    entity, project = run["entity"], run["project"]
    items = [tag("li", run["run_id"], " ", tag("code", run["immutable_id"]))]
    for parent in run["lineage"]:
        step = "" if parent["fork_step"] is None else f" at step {parent['fork_step']}"
        shown = parent["run_id"] or parent["immutable_id"]
        where = _href(
            parent["entity"] or entity, parent["project"] or project, parent["immutable_id"]
        )
        is_there = parent["known"] and not parent["is_deleted"]
        link = tag("a", shown, href=where) if is_there else shown
        note = " (deleted)" if parent["is_deleted"] else ""
        items.append(tag("li", f"{parent['kind']} from ", link, step, note))
    for archived in run["archived"]:
        link = tag("a", archived, href=_href(entity, project, archived))
        items.append(tag("li", "archived: ", link))
    return escaped([tag("h2", "Lineage"), tag("ul", items)])


def _sessions(sessions: Sequence[Mapping[str, Any]]) -> Markup:
    has_labels = any(session["is_shared"] for session in sessions)
    if has_labels:
        sessions = sorted(sessions, key=lambda s: (not s["is_primary"], *_by_label(s["label"])))
    head = ["Started", "State", "Host", "Program", "Rows", "Last step", "Last row"]
    rows = [
        tag(
            "tr",
            tag("td", _writer(session)) if has_labels else "",
            tag("td", shown_time(session["started_at"]), class_="quiet"),
            tag("td", _state(session)),
            tag("td", _process(session)),
            tag("td", session["program"], class_="quiet"),
            tag("td", str(session["rows"]), class_="number"),
            tag("td", str(session["last_step"]) if session["rows"] else "-", class_="number"),
            tag("td", shown_time(session["last_row_at"]), class_="quiet"),
        )
        for session in sessions
    ]
    if has_labels:
        head.insert(0, "Writer")
    return _table(head, rows)


def _process(session: Mapping[str, Any]) -> str:
    """W&B's clients do not tell their process."""
    pid = session["pid"]
    return f"{session['hostname']} · {pid}" if pid else str(session["hostname"])


def _by_label(label: str) -> tuple[int, str]:
    """rank_2 before rank_10."""
    return len(label), label


def _charted(run: Mapping[str, Any]) -> list[str]:
    """Whose curves are drawn for themselves; an empty label stands for all together."""
    labels = sorted(run["labels"], key=_by_label)
    if not 1 <= len(labels) <= _LABELS_CHARTED_MAX:
        return [""]
    of_labels = sum(session["rows"] for session in run["sessions"] if session["label"])
    return labels if run["rows"] == of_labels else ["", *labels]


def _writer(session: Mapping[str, Any]) -> Markup:
    note = tag("span", " primary", class_="quiet") if session["is_primary"] else ""
    return escaped([session["label"], note])
