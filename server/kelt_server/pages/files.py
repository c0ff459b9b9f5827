"""Files and artifacts as pages list them, and what a run's page shows of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from kelt_server.artifacts import ArtifactLibrary, queries
from kelt_server.artifacts.records import COMMITTED, Artifact
from kelt_server.files_of_runs import FilesOfRuns, FoundFile
from kelt_server.pages.amounts import counted, shown_size
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.layout import folded, path_of, table
from kelt_server.pages.run_list import Run
from kelt_server.reader import RunReader

_API = "/api/v1"
_FILES_OPEN = 20
_FILES_MAX = 2000
_VERSIONS_OPEN = 10
_ANCESTORS_MAX = 10


@dataclass(frozen=True, slots=True)
class ShownFiles:
    """What a page shows: sections of links, and where each file is, by its path."""

    sections: tuple[Child, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)


class RunFiles:
    """Looks them up."""

    def __init__(self, *, files: FilesOfRuns, library: ArtifactLibrary) -> None:
        self._files = files
        self._library = library

    def __call__(self, reader: RunReader, run: Run) -> ShownFiles:
        """Nothing where there are none. What is another's is left out.

        What the run has from those that it was forked from may be a picture: their files have
        addresses too.

        Args:
            reader: finds what is open to who asks.
            run: as the read API has it.
        """
        name = (run["entity"], run["project"], run["run_id"])
        with self._library.reading() as reading:
            both = queries.logged_by(reading, name), queries.used_by_run(reading, name)
        logged, used = (
            [item for item in found if reader.may(item.collection.entity)] for found in both
        )
        found, addresses = self._found(reader, run)
        inherited: dict[str, str] = {}
        for parent in _forked_from(run):
            is_there = parent["known"] and not parent["is_deleted"]
            if is_there and reader.may(parent["entity"]):
                inherited = self._found(reader, {**parent, "is_archived": False})[1] | inherited
        sections = (
            *_artifacts("Artifacts logged", logged),
            *_artifacts("Artifacts used", used),
            *_run_files(found, addresses),
        )
        return ShownFiles(sections, inherited | addresses)

    def _found(self, reader: RunReader, run: Run) -> tuple[list[FoundFile], dict[str, str]]:
        name = (run["entity"], run["project"], run["run_id"])
        where = (*name[:2], run["immutable_id"] if run["is_archived"] else name[2])
        files = self._files.all(reader.files, None if run["is_archived"] else name, where)
        base = f"{_API}/runs/{path_of(*where)}/files/"
        return files, {f.path: base + quote(f.path, errors="surrogatepass") for f in files}


def _forked_from(run: Run) -> Iterator[Mapping[str, str]]:
    """Ancestors of other names, each name once, nearest first."""
    seen = {run["run_id"]}
    for parent in run["lineage"][:_ANCESTORS_MAX]:
        if parent["run_id"] not in seen:
            seen.add(parent["run_id"])
            yield parent


def artifact_href(found: Artifact) -> str:
    """The page of a version, where W&B has it too: its clients print the address."""
    of = found.collection
    return collection_href((of.entity, of.project), of.type, of.name, f"v{found.version}")


def collection_href(project: tuple[str, str], *names: str) -> str:
    """The page of a type's collection, or of one of its versions."""
    return f"/{path_of(*project, 'artifacts', *names)}"


def file_table(files: Iterable[tuple[str, Child, int | None]]) -> Markup:
    """A line for each file: its path, what is shown of it, its size where it is known."""
    rows = [
        tag(
            "tr",
            tag("td", shown, class_="name", title=path),
            tag("td", "" if size_bytes is None else shown_size(size_bytes), class_="number quiet"),
        )
        for path, shown, size_bytes in files
    ]
    return table(("File", "Size"), rows)


def _run_files(files: Sequence[FoundFile], addresses: Mapping[str, str]) -> list[Child]:
    def listed(some: Sequence[FoundFile]) -> Markup:
        return file_table(
            (f.path, tag("a", f.path, href=addresses[f.path]), f.size_bytes) for f in some
        )

    if not files:
        return []
    more = files[_FILES_OPEN:_FILES_MAX]
    gone = len(files) - _FILES_MAX
    note = f"{gone:,} others are not shown; kelt.Api().run(…).files() has all." if gone > 0 else ""
    return [
        tag("h2", "Files"),
        listed(files[:_FILES_OPEN]),
        folded(f"{counted(len(more), 'more file')}", listed(more)) if more else "",
        tag("p", note, class_="quiet") if note else "",
    ]


def _artifacts(title: str, found: Sequence[Artifact]) -> list[Child]:
    """A line for each collection, with its versions, newest first; of those many are let go."""
    of: dict[int, list[Artifact]] = {}
    for item in found:
        of.setdefault(item.collection.id, []).append(item)
    if not of:
        return []
    rows = [
        tag(
            "tr",
            tag("td", _versions(versions), class_="name"),
            tag("td", versions[0].collection.type, class_="quiet name"),
            tag("td", shown_size(sum(v.size_bytes for v in versions)), class_="number quiet"),
        )
        for versions in (
            sorted(some, key=lambda v: v.version or 0, reverse=True) for some in of.values()
        )
    ]
    return [tag("h2", title), table(("Artifact", "Type", "Size"), rows)]


def _versions(versions: Sequence[Artifact]) -> Markup:
    of = versions[0].collection
    links: list[Child] = [
        [" ", _version(version, f"v{version.version}")] for version in versions[:_VERSIONS_OPEN]
    ]
    more = len(versions) - _VERSIONS_OPEN
    if more > 0:
        href = collection_href((of.entity, of.project), of.type, of.name)
        links.append([" ", tag("a", f"and {more:,} more", href=href)])
    return escaped([of.name, links])


def _version(found: Artifact, shown: str) -> Child:
    if found.state != COMMITTED:
        return f"{shown} (deleted)"
    return [tag("a", shown, href=artifact_href(found)), badges(found.aliases)]


def badges(texts: Iterable[str]) -> Child:
    """Aliases or tags."""
    return [[" ", tag("span", text, class_="badge")] for text in texts]
