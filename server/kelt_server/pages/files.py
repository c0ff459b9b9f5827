"""What a run's page shows of its files and artifacts: links to the read API."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from kelt_server.artifacts import ArtifactLibrary, queries
from kelt_server.artifacts.records import Artifact
from kelt_server.branch_names import Name
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.pages.html import Child, Markup, tag
from kelt_server.reader import RunReader

_API = "/api/v1"
_SHOWN_MAX = 200


class RunFiles:
    """Looks them up."""

    def __init__(self, *, files: FilesOfRuns, library: ArtifactLibrary) -> None:
        self._files = files
        self._library = library

    def __call__(self, reader: RunReader, run: Name) -> list[Child]:
        """Nothing where there are none. What is another's is left out."""
        with self._library.reading() as reading:
            both = queries.logged_by(reading, run), queries.used_by_run(reading, run)
        logged, used = (
            [item for item in found if reader.may(item.collection.entity)] for found in both
        )
        files = self._files.all(reader.files, run, run)[:_SHOWN_MAX]
        base = f"{_API}/runs/{_path(*run)}/files/"
        return [
            *_section("Artifacts logged", map(_artifact, logged[:_SHOWN_MAX])),
            *_section("Artifacts used", map(_artifact, used[:_SHOWN_MAX])),
            *_section(
                "Files",
                (
                    _line(f.path, base + quote(f.path, errors="surrogatepass"), f.size_bytes)
                    for f in files
                ),
            ),
        ]


def _section(title: str, lines: Iterable[Markup]) -> list[Child]:
    found = list(lines)
    return [tag("h2", title), tag("ul", found)] if found else []


def _artifact(found: Artifact) -> Markup:
    of = found.collection
    href = f"{_API}/artifacts/{_path(of.entity, of.project, found.name)}"
    shown = f"{found.name} ({', '.join((of.type, *found.aliases))})"
    return _line(shown, href, found.size_bytes)


def _line(shown: str, href: str, size_bytes: int) -> Markup:
    return tag("li", tag("a", shown, href=href), f" {size_bytes:,} bytes")


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
