"""What a run's page shows of its files and artifacts: links to the read API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from kelt_server.artifacts import ArtifactLibrary, queries
from kelt_server.artifacts.records import Artifact
from kelt_server.branch_names import Name
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.pages.html import Child, Markup, tag
from kelt_server.reader import RunReader

_API = "/api/v1"
_SHOWN_MAX = 200
_KIB = 1024


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

    def __call__(self, reader: RunReader, run: Name, *, archived: str = "") -> ShownFiles:
        """Nothing where there are none. What is another's is left out.

        Args:
            reader: finds what is open to who asks.
            run: entity, project and run id.
            archived: the immutable id of a branch that does not hold this name.
        """
        with self._library.reading() as reading:
            both = queries.logged_by(reading, run), queries.used_by_run(reading, run)
        logged, used = (
            [item for item in found if reader.may(item.collection.entity)] for found in both
        )
        where = (*run[:2], archived or run[2])
        files = self._files.all(reader.files, None if archived else run, where)
        base = f"{_API}/runs/{_path(*where)}/files/"
        addresses = {f.path: base + quote(f.path, errors="surrogatepass") for f in files}
        sections = (
            *_section("Artifacts logged", map(_artifact, logged[:_SHOWN_MAX])),
            *_section("Artifacts used", map(_artifact, used[:_SHOWN_MAX])),
            *_section(
                "Files",
                (_line(f.path, addresses[f.path], f.size_bytes) for f in files[:_SHOWN_MAX]),
            ),
        )
        return ShownFiles(sections, addresses)


def _section(title: str, lines: Iterable[Markup]) -> list[Child]:
    found = list(lines)
    return [tag("h2", title), tag("ul", found)] if found else []


def _artifact(found: Artifact) -> Markup:
    of = found.collection
    href = f"{_API}/artifacts/{_path(of.entity, of.project, found.name)}"
    shown = f"{found.name} ({', '.join((of.type, *found.aliases))})"
    return _line(shown, href, found.size_bytes)


def _line(shown: str, href: str, size_bytes: int) -> Markup:
    return tag(
        "li", tag("a", shown, href=href), " ", tag("span", _size(size_bytes), class_="quiet")
    )


def _size(size_bytes: int) -> str:
    size, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB"]
    while size >= _KIB and len(units) > 1:
        size, units = size / _KIB, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
