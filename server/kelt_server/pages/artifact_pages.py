"""The pages of artifacts: those of a project, and one version with its files and its lineage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kelt_server.access.callers import Caller
from kelt_server.api.asking import caller_of
from kelt_server.artifacts import ArtifactLibrary, listing, names, queries
from kelt_server.artifacts.listing import Head
from kelt_server.artifacts.records import Artifact, ArtifactFile
from kelt_server.branch_names import Name
from kelt_server.errors import NotFoundError
from kelt_server.pages.amounts import shown_duration, shown_size, shown_time
from kelt_server.pages.explaining import explained
from kelt_server.pages.files import artifact_href, badges, collection_href, file_table
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.layout import (
    Part,
    facts,
    page,
    path_of,
    project_crumb,
    project_href,
    run_href,
    table,
    tabs,
)
from kelt_server.pages.values import value_table
from kelt_server.values import plain

_COLLECTIONS_SHOWN = 200
_FILES_SHOWN = 100
_VERSIONS_SHOWN = 30
_RUNS_SHOWN_MAX = 100
#: Other references are no addresses to a browser, or would be run by it.
_FOLLOWED = ("http://", "https://")
_NONE = (
    "No artifact of this project is here. run.log_artifact(…) logs one, by kelt and by wandb alike."
)


class ArtifactPages:
    """Pages for people, each of what is open to who asks. Their addresses are W&B's."""

    def __init__(self, library: ArtifactLibrary) -> None:
        self._library = library

    def routes(self) -> list[Route]:
        """Every page."""
        base = "/{entity}/{project}/artifacts"
        return [
            Route(base, explained(self.collections)),
            Route(f"{base}/{{type}}/{{name}}", explained(self.version)),
            Route(f"{base}/{{type}}/{{name}}/{{version}}", explained(self.version)),
        ]

    def collections(self, request: Request) -> Response:
        """The artifacts of a project."""
        entity, project = _project(request)
        part = Part.asked(request, "artifacts", _COLLECTIONS_SHOWN)
        with self._library.reading() as reading:
            heads, total = listing.heads(
                reading, entity, project, text=names.storable(part.text),
                offset=part.begin, limit=part.size,
            )  # fmt: skip
        none = f"No artifact's name or type contains {part.text!r}." if part.text else _NONE
        return page(
            f"{entity}/{project}",
            [
                tabs(entity, project, "artifacts"),
                part.search(total, "artifacts"),
                _collections(heads) if heads else tag("p", none, class_="quiet"),
                part.links(total, "artifacts"),
            ],
        )

    def version(self, request: Request) -> Response:
        """One version; without one named, the latest."""
        found = self._found(request)
        of, caller = found.collection, caller_of(request)
        files = Part.asked(request, "files", _FILES_SHOWN)
        others = Part.asked(request, "versions", _VERSIONS_SHOWN)
        with self._library.reading() as reading:
            in_it = queries.files(reading, found.id, offset=files.begin, limit=files.size)
            versions, total = listing.versions(
                reading, of.id, offset=others.begin, limit=others.size
            )
            loggers = [run for run in listing.loggers_of(reading, found) if caller.may(run[0])]
            users = [run for run in queries.users_of(reading, found.id) if caller.may(run[0])]
        artifacts = tag("a", "artifacts", href=project_href(of.entity, of.project, "artifacts"))
        return page(
            found.name,
            [
                _facts(found, loggers),
                _use(found),
                tag("h2", "Metadata"),
                value_table(plain(json.loads(found.metadata or "{}")), {}),
                tag("h2", "Used by"),
                _runs(users) or tag("p", "No run yet.", class_="quiet"),
                tag("h2", "Files"),
                _files(found, in_it),
                files.links(found.file_count, "files"),
                tag("h2", f"Versions of {of.name}"),
                _versions(versions, found, caller),
                others.links(total, "versions"),
            ],
            crumbs=[project_crumb(of.entity, of.project), artifacts],
        )

    def _found(self, request: Request) -> Artifact:
        (entity, project), asked = _project(request), request.path_params
        name, alias = asked["name"], asked.get("version", names.LATEST)
        found = None
        if all(map(names.is_storable, (entity, project, name, alias))):
            with self._library.reading() as reading:
                of = queries.collection(reading, entity, project, name)
                found = None if of is None else queries.version(reading, of, alias)
        if found is None:
            raise NotFoundError(
                f"there is no artifact {f'{name}:{alias}'[:200]!r} in {entity}/{project}; it may "
                "have been deleted, or be on its way"
            )
        return found


def _project(request: Request) -> tuple[str, str]:
    """Which project is meant, if it is open to who asks."""
    named = request.path_params
    return caller_of(request).check(named["entity"]), named["project"]


def _collections(heads: Sequence[Head]) -> Markup:
    rows = []
    for head in heads:
        of, newest = head.collection, head.newest
        href = collection_href((of.entity, of.project), of.type, of.name)
        link = tag("a", of.name, href=href) if newest is not None else of.name
        rows.append(
            tag(
                "tr",
                tag("td", link, class_="name"),
                tag("td", of.type, class_="quiet name"),
                tag("td", _newest(newest), class_="name"),
                tag("td", f"{head.versions:,}", class_="number"),
                tag("td", shown_size(newest.size_bytes) if newest else "", class_="number"),
                tag("td", shown_time(newest.created_at if newest else None), class_="quiet"),
            )
        )
    return table(("Artifact", "Type", "Newest", "Versions", "Size", "Created"), rows)


def _newest(newest: Artifact | None) -> Child:
    if newest is None:
        return tag("span", "none", class_="quiet")
    return [tag("a", f"v{newest.version}", href=artifact_href(newest)), badges(newest.aliases)]


def _facts(found: Artifact, loggers: Sequence[Name]) -> Markup:
    of = found.collection
    text = found.description or of.description
    return facts(
        [
            ("Type", of.type),
            ("Version", f"v{found.version}"),
            ("Aliases", badges(found.aliases) if found.aliases else ""),
            ("Tags", badges(found.tags) if found.tags else ""),
            ("Description", tag("span", text, class_="text") if text else ""),
            ("Logged by", _runs(loggers)),
            ("Created", shown_time(found.created_at)),
            ("Files", f"{found.file_count:,}, {shown_size(found.size_bytes)}"),
            ("Digest", tag("code", found.digest)),
            ("Lives for", shown_duration(found.ttl_s)),
        ]
    )


def _use(found: Artifact) -> Markup:
    of = found.collection
    path = f"{of.entity}/{of.project}/{found.name}"
    lines = (
        f"run.use_artifact({path!r}).download()      # in a run of kelt or wandb\n"
        f"kelt.Api().artifact({path!r}).download()   # elsewhere\n"
    )
    return tag("pre", lines, class_="text")


def _runs(runs: Sequence[Name]) -> Child:
    """Links to runs; nothing where there are none."""
    links: list[Child] = []
    for run in runs[:_RUNS_SHOWN_MAX]:
        links += [", " if links else "", tag("a", run[2], href=run_href(run))]
    more = len(runs) - _RUNS_SHOWN_MAX
    return [*links, f" and {more:,} more"] if more > 0 else links


def _files(found: Artifact, files: Iterable[ArtifactFile]) -> Markup:
    of = found.collection
    base = f"/api/v1/artifacts/{path_of(of.entity, of.project, found.name)}/files/"
    shown: list[tuple[str, Child, int | None]] = []
    for file in files:
        if file.ref:
            is_followed = file.ref.startswith(_FOLLOWED)
            where = tag("a", file.ref, href=file.ref, rel="noreferrer") if is_followed else file.ref
            link: Child = [file.path, tag("span", " at ", where, class_="quiet")]
        else:
            link = tag("a", file.path, href=base + quote(file.path, errors="surrogatepass"))
        size_bytes = None if file.ref and not file.size_bytes else file.size_bytes
        shown.append((file.path, link, size_bytes))
    return file_table(shown) if shown else escaped(tag("p", "None.", class_="quiet"))


def _versions(versions: Iterable[Artifact], here: Artifact, caller: Caller) -> Markup:
    rows = [
        tag(
            "tr",
            tag(
                "td",
                tag("a", f"v{found.version}", href=artifact_href(found)),
                badges(found.aliases),
                class_="name",
            ),
            tag("td", shown_size(found.size_bytes), class_="number"),
            tag("td", _runs([run]) if run and caller.may(run[0]) else "", class_="name"),
            tag("td", shown_time(found.created_at), class_="quiet"),
            class_="own" if found.id == here.id else "",
        )
        for found in versions
        for run in (found.logged_by,)
    ]
    return table(("Version", "Size", "Logged by", "Created"), rows)
