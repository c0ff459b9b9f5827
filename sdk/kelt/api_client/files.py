"""Files and artifacts of runs, to be listed and fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from kelt.api_client.connection import Connection
from kelt.api_client.errors import QueryError

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class StoredFile:
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
    route: str
    connection: Connection

    @property
    def name(self) -> str:
        """The path, as wandb calls it."""
        return self.path

    def download(self, root: str | Path = ".") -> Path:
        """Fetches it into a folder, under its path there; returns where it lies.

        Raises:
            QueryError: it is kept elsewhere, or its path leads out of the folder.
        """
        if self.ref is not None:
            raise QueryError(f"{self.path!r} is not kept by the server, but at {self.ref}.")
        parts = PurePosixPath(self.path).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise QueryError(f"{self.path!r} leads out of {str(root)!r}, so it is not fetched.")
        target = Path(root, *parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.connection.download(self.route, target)
        return target


class Artifact:
    """A version of an artifact.

    Args:
        connection: to the server.
        data: an ARTIFACT of the read API.
    """

    def __init__(self, *, connection: Connection, data: Mapping[str, Any]) -> None:
        self._connection = connection
        self._data = data

    def __repr__(self) -> str:
        return f"<Artifact {self.entity}/{self.project}/{self.name}>"

    @property
    def entity(self) -> str:
        """Whose project it is in."""
        return str(self._data["entity"])

    @property
    def project(self) -> str:
        """The project."""
        return str(self._data["project"])

    @property
    def name(self) -> str:
        """Collection and version: `data:v3`."""
        return f"{self._data['name']}:{self._data['version']}"

    @property
    def type(self) -> str:
        """What kind of thing it is, as was said when it was logged."""
        return str(self._data["type"])

    @property
    def aliases(self) -> list[str]:
        """Other names of the version."""
        return list(self._data["aliases"])

    @property
    def metadata(self) -> dict[str, Any]:
        """What was said of it."""
        return dict(self._data["metadata"])

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return int(self._data["size_bytes"])

    @property
    def raw(self) -> Mapping[str, Any]:
        """All that the server said of it."""
        return self._data

    def files(self) -> list[StoredFile]:
        """Its files, by path."""
        name = f"{self._data['name']}:{self._data['version']}"
        route = _route("artifacts", self.entity, self.project, name)
        return list(read_files(self._connection, route, f"{route}/files"))

    def download(self, root: str | Path = ".") -> Path:
        """Fetches all that the server keeps of it into a folder, and returns the folder."""
        for file in self.files():
            if file.ref is None:
                file.download(root)
        return Path(root)


def read_files(connection: Connection, route: str, base: str) -> Iterator[StoredFile]:
    """All pages of a list of files."""
    offset, is_more = 0, True
    while is_more:
        page = connection.get(route, [("offset", offset), ("limit", _PAGE)])["files"]
        for said in page:
            where = f"{base}/{quote(said['path'])}"
            yield StoredFile(said["path"], said["size_bytes"], said.get("ref"), where, connection)
        offset += len(page)
        is_more = len(page) == _PAGE


def _route(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)
