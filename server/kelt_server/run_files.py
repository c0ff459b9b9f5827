"""Files that came as records, piece by piece: which are whole, and where their pieces lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kelt_server.catalog.store import Catalog
from kelt_server.config_history import session_order
from kelt_server.errors import NotFoundError
from kelt_server.facts import FilePieceFact
from kelt_server.finding import Finder
from kelt_server.object_store import ObjectStore
from kelt_server.run_view import continued_chain


@dataclass(frozen=True, slots=True)
class RunFile:
    """A whole file. `version` is the SHA-256 of its content in hex, `objects` are its pieces."""

    name: str
    size_bytes: int
    version: str
    at: float
    objects: tuple[str, ...]


class RunFiles:
    """The files of runs, as they are now; a run is named as for `Finder.run`.

    A run has the files of its branch, and of those that the branch merely goes on with.
    """

    def __init__(self, *, finder: Finder, catalog: Catalog, objects: ObjectStore) -> None:
        self._finder = finder
        self._catalog = catalog
        self._objects = objects

    def all(self, run: tuple[str, str, str]) -> list[RunFile]:
        """Every whole file, by name; of several versions of one the latest."""
        branch_id, scope = self._finder.run(*run)
        chain = continued_chain(scope.lineage.line(branch_id))
        family = scope.family
        writers = {w for own in chain for w in family.writers_of.get(own, ())}
        order = sorted(writers, key=lambda w: session_order(w, family.sessions))
        by_writer: dict[bytes, list[FilePieceFact]] = {writer_id: [] for writer_id in order}
        for piece in self._catalog.file_pieces(list(by_writer)):
            by_writer[piece.writer_id].append(piece)
        found: dict[str, RunFile] = {}
        for pieces in by_writer.values():
            found |= {file.name: file for file in whole_files(pieces)}
        return [found[name] for name in sorted(found)]

    def content(self, run: tuple[str, str, str], name: str) -> tuple[RunFile, Iterator[bytes]]:
        """A file, and its bytes.

        Raises:
            NotFoundError: there is no such file.
        """
        for file in self.all(run):
            if file.name == name:
                return file, self._bytes(map(self._objects.path, file.objects))
        raise NotFoundError(f"there is no file {name!r} of {run[2]}")

    @staticmethod
    def _bytes(paths: Iterable[Path]) -> Iterator[bytes]:
        for path in paths:
            yield path.read_bytes()


def whole_files(pieces: Sequence[FilePieceFact]) -> Iterator[RunFile]:
    """The files of which every piece is there, those that were completed last come last."""
    by_file: dict[tuple[str, str, int], dict[int, FilePieceFact]] = {}
    for piece in pieces:
        key = (piece.name, piece.version, piece.size_bytes)
        of_file = by_file.pop(key, {})
        of_file[piece.offset_bytes] = piece
        by_file[key] = of_file
    for (name, version, size_bytes), of_file in by_file.items():
        end_bytes, objects = 0, []
        for offset_bytes in sorted(of_file):
            if offset_bytes == end_bytes:
                objects.append(of_file[offset_bytes].object_id)
                end_bytes += of_file[offset_bytes].length_bytes
        if end_bytes == size_bytes:
            at = max(piece.at for piece in of_file.values())
            yield RunFile(name, size_bytes, version, at, tuple(objects))
