"""Files of runs and artifacts, to be listed and fetched."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from kelt.api_client.connection import Connection
from kelt.api_client.errors import QueryError
from kelt.errors import StorageError

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class File:
    """A file on the server.

    Args:
        path: relative, with slashes.
        size_bytes: how large it is.
        ref: where it is kept, if that is not the server.
        route: where it is fetched.
        connection: to the server.
    """

    path: str
    size_bytes: int
    ref: str | None
    route: str = field(repr=False)
    connection: Connection = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The path, as wandb calls it."""
        return self.path

    @property
    def size(self) -> int:
        """The size in bytes, as wandb calls it."""
        return self.size_bytes

    def download(self, root: str | Path = ".", *, replace: bool = False) -> Path:
        """Fetches it into a folder, under its path there; returns where it lies.

        Args:
            root: the folder.
            replace: whether a file that is there already is replaced.

        Raises:
            QueryError: it is kept elsewhere.
            StorageError: it cannot be written, or is there already.
        """
        if self.ref is not None:
            raise QueryError(f"{self.path!r} is not kept by the server, but at {self.ref}.")
        folder, parts = Path(root).resolve(), self.path.split("/")
        target = folder.joinpath(*parts).resolve()
        if not (all(parts) and target.is_relative_to(folder)):
            raise StorageError(f"The file {self.path!r} leads out of {folder}.")
        if target.exists() and not replace:
            raise StorageError(f"{target} is there already; choose another root, or replace=True.")
        try:
            self._write(target)
        except OSError as error:
            raise StorageError(
                f"{target} cannot be written ({error.strerror}); choose another root."
            ) from error
        return target

    def _write(self, target: Path) -> None:
        """All of it or nothing."""
        partial = target.with_name(f".{secrets.token_hex(8)}.partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                for piece in self.connection.content(self.route):
                    file.write(piece)
            partial.replace(target)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def read_files(connection: Connection, route: str, base: str) -> Iterator[File]:
    """All pages of a list of files."""
    offset, is_more = 0, True
    while is_more:
        page = connection.get(route, [("offset", offset), ("limit", _PAGE)])["files"]
        for said in page:
            where = f"{base}/{quote(said['path'])}"
            yield File(said["path"], said["size_bytes"], said.get("ref"), where, connection)
        offset += len(page)
        is_more = len(page) == _PAGE


def route_of(*parts: str) -> str:
    """The route of things by their names."""
    return "/" + "/".join(quote(part, safe="") for part in parts)
