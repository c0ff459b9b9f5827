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
        digest: of an artifact's, the MD5 in base64, or what stands for it.
        of: of a reference to another artifact that the server has: its name, and the path in it.
        home: into which folder it is fetched where none is given, over what is there; without one
            that is the working folder.
    """

    path: str
    size_bytes: int
    ref: str | None
    route: str = field(repr=False)
    connection: Connection = field(repr=False, compare=False)
    digest: str = field(default="", repr=False)
    of: tuple[str, str] | None = field(default=None, repr=False)
    home: Path | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The path, as wandb calls it."""
        return self.path

    @property
    def size(self) -> int:
        """The size in bytes, as wandb calls it."""
        return self.size_bytes

    @property
    def is_elsewhere(self) -> bool:
        """Whether the server does not have it."""
        return self.ref is not None and self.of is None

    def download(self, root: str | Path | None = None, *, replace: bool = False) -> Path:
        """Fetches it into a folder, under its path there; returns where it lies.

        Args:
            root: the folder; `home` without one.
            replace: whether a file that is there already is replaced.

        Raises:
            QueryError: it is kept elsewhere.
            StorageError: it cannot be written, or is there already.
        """
        if self.is_elsewhere:
            raise QueryError(f"{self.path!r} is not kept by the server, but at {self.ref}.")
        replace = replace or (root is None and self.home is not None)
        target = self.place_in(Path(root or self.home or "."))
        if target.exists() and not replace:
            raise StorageError(f"{target} is there already; choose another root, or replace=True.")
        try:
            self.write(target)
        except OSError as error:
            raise StorageError(
                f"{target} cannot be written ({error.strerror}); choose another root."
            ) from error
        return target

    def place_in(self, root: Path) -> Path:
        """Where it lies in a folder.

        Raises:
            StorageError: elsewhere.
        """
        folder, parts = root.resolve(), self.path.split("/")
        target = folder.joinpath(*parts).resolve()
        if not (all(parts) and target.is_relative_to(folder)):
            raise StorageError(f"The file {self.path!r} leads out of {folder}.")
        return target

    def write(self, target: Path) -> None:
        """Fetches it to a place, all of it or nothing.

        Raises:
            OSError: it cannot be written.
        """
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


def read_files(
    connection: Connection, route: str, base: str, *, home: Path | None = None
) -> Iterator[File]:
    """All pages of a list of files."""
    offset, is_more = 0, True
    while is_more:
        page = connection.get(route, [("offset", offset), ("limit", _PAGE)])["files"]
        for said in page:
            of = said.get("of")
            yield File(
                path=said["path"],
                size_bytes=said["size_bytes"],
                ref=said.get("ref"),
                route=f"{base}/{quote(said['path'])}",
                connection=connection,
                digest=said.get("digest") or "",
                of=of and (of["artifact"], of["path"]),
                home=home,
            )
        offset += len(page)
        is_more = len(page) == _PAGE


def route_of(*parts: str) -> str:
    """The route of things by their names."""
    return "/" + "/".join(quote(part, safe="") for part in parts)
