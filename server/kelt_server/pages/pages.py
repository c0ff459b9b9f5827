"""The pages of runs: everything, one project, one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kelt_server.access.callers import Caller
from kelt_server.api.asking import caller_of
from kelt_server.filters import parse_order
from kelt_server.pages.amounts import counted, shown_time
from kelt_server.pages.explaining import explained
from kelt_server.pages.files import ShownFiles
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.layout import Part, page, project_crumb, project_href, table, tabs
from kelt_server.pages.lineage import AROUND_MAX
from kelt_server.pages.run_list import Run, run_table
from kelt_server.pages.run_page import run_page
from kelt_server.reader import RunReader

RUNS_SHOWN = 200
#: Of the latest projects the latest runs are shown, of the others their names.
_PROJECTS_OPEN = 5
_RUNS_OF_EACH = 10
_PROJECTS_LISTED_MAX = 1000


#: What a page shows of the files of a run that is open to who asks.
ShowFiles = Callable[[RunReader, Run], ShownFiles]


def _no_files(reader: RunReader, run: Run) -> ShownFiles:
    del reader, run
    return ShownFiles()


class Pages:
    """Pages for people, each of what is open to who asks.

    Args:
        reader: reads runs.
        files: what a run's page shows of its files.
    """

    def __init__(self, reader: RunReader, files: ShowFiles = _no_files) -> None:
        self._of_all = reader
        self._files = files

    def _reader(self, request: Request) -> RunReader:
        return self._of_all.seen_by(caller_of(request))

    def routes(self) -> list[Route]:
        """Every page, and where W&B has a project's."""
        return [
            Route("/", explained(self.home)),
            Route("/{entity}/{project}", explained(self.project)),
            Route("/{entity}/{project}/workspace", self.workspace),
            Route("/{entity}/{project}/runs/{run}", explained(self.run)),
        ]

    def home(self, request: Request) -> Response:
        """Projects, those that ran last first."""
        reader = self._reader(request)
        projects = sorted(reader.projects(), key=lambda p: p["last_started_at"] or 0, reverse=True)
        parts: list[Child] = [_who(caller_of(request))]
        for found in projects[:_PROJECTS_OPEN]:
            entity, project = found["entity"], found["project"]
            runs = _runs(reader, entity, project)
            more = len(runs) - _RUNS_OF_EACH
            href = project_href(entity, project)
            all_of_them = tag("p", tag("a", f"{counted(more, 'more run')}", href=href))
            parts.append(
                tag(
                    "section",
                    tag("h2", tag("a", f"{entity}/{project}", href=href)),
                    run_table(runs[:_RUNS_OF_EACH]),
                    all_of_them if more > 0 else "",
                )
            )
        others = projects[_PROJECTS_OPEN:][:_PROJECTS_LISTED_MAX]
        if others:
            parts.append(_other_projects(others))
        return page("Projects", parts if projects else [*parts, _beginning(request)])

    def project(self, request: Request) -> Response:
        """The runs of one project."""
        entity, project = request.path_params["entity"], request.path_params["project"]
        part = Part.asked(request, "runs", RUNS_SHOWN)
        every = _runs(self._reader(request), entity, project)
        runs = [
            run for run in every if part.has(run["name"], run["run_id"], run["group"], *run["tags"])
        ]
        shown = runs[part.begin : part.end]
        none = "No run of this project is here." if not every else "No run is so called."
        return page(
            f"{entity}/{project}",
            [
                tabs(entity, project, ""),
                part.search(len(every), "runs"),
                run_table(shown) if shown else tag("p", none, class_="quiet"),
                part.links(len(runs), "runs"),
            ],
        )

    def workspace(self, request: Request) -> Response:
        """Where W&B has a project's runs; its clients print the address."""
        named = request.path_params
        return RedirectResponse(project_href(named["entity"], named["project"]))

    def run(self, request: Request) -> Response:
        """One run."""
        named = request.path_params
        reader = self._reader(request)
        where = (named["entity"], named["project"], named["run"])
        around = reader.around(*where, limit=AROUND_MAX)
        run = around.run.as_json()
        return page(
            run["name"],
            run_page(reader, request, run, around, self._files(reader, run)),
            crumbs=[project_crumb(run["entity"], run["project"])],
        )


def _runs(reader: RunReader, entity: str, project: str) -> list[dict[str, Any]]:
    return [dict(run) for run in parse_order("-created_at")(reader.runs(entity, project))]


def _who(caller: Caller) -> Child:
    """Whose key it is, and what it opens; nothing where there are no users."""
    if not caller.user:
        return ""
    opened = "every entity" if caller.sees_all else ", ".join((caller.entity, *caller.teams))
    return tag("p", f"{caller.user} sees {opened}.", class_="quiet")


def _other_projects(projects: Sequence[Any]) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", project_crumb(found["entity"], found["project"]), class_="name"),
            tag("td", f"{found['runs']:,}", class_="number"),
            tag("td", shown_time(found["last_started_at"]), class_="quiet"),
        )
        for found in projects
    ]
    return escaped([tag("h2", "More projects"), table(("Project", "Runs", "Latest run"), rows)])


def _beginning(request: Request) -> Markup:
    """What somebody may do who sees no run."""
    address = f"{request.url.scheme}://{request.url.netloc}"
    lines = (
        f"KELT_UPSTREAM={address} python train.py      # import kelt; or: kelt run train.py\n"
        f"WANDB_BASE_URL={address} python train.py     # import wandb, with any WANDB_API_KEY\n"
        f"KELT_UPSTREAM={address} kelt sync wandb/     # runs that lie on a disk\n"
    )
    return escaped(
        [tag("p", "No run has arrived yet. These bring some:"), tag("pre", lines, class_="text")]
    )
