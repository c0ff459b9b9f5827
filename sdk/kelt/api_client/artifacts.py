"""Versions of artifacts that a server has, to be looked at, fetched and used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kelt.api_client.connection import Connection
from kelt.api_client.errors import QueryError
from kelt.api_client.files import File, read_files, route_of
from kelt.errors import RunNotFoundError, UsageError


class StoredArtifact:
    """A version of an artifact.

    Args:
        connection: to the server.
        data: an ARTIFACT of the read API.
    """

    def __init__(self, *, connection: Connection, data: Mapping[str, Any]) -> None:
        self._connection = connection
        self._data = data

    def __repr__(self) -> str:
        return f"<Artifact {self.qualified_name}>"

    @property
    def entity(self) -> str:
        """Whose project it is in."""
        return str(self._data["entity"])

    @property
    def project(self) -> str:
        """The project."""
        return str(self._data["project"])

    @property
    def collection(self) -> str:
        """The name without a version."""
        return str(self._data["name"])

    @property
    def version(self) -> str:
        """Such as `v3`."""
        return str(self._data["version"])

    @property
    def name(self) -> str:
        """Collection and version: `data:v3`."""
        return f"{self.collection}:{self.version}"

    @property
    def qualified_name(self) -> str:
        """With the entity and the project before it."""
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def type(self) -> str:
        """What kind of thing it is, as was said when it was logged."""
        return str(self._data["type"])

    @property
    def aliases(self) -> list[str]:
        """Other names of the version."""
        return list(self._data["aliases"])

    @property
    def tags(self) -> list[str]:
        """Labels."""
        return list(self._data["tags"])

    @property
    def description(self) -> str | None:
        """Free text."""
        found = self._data["description"]
        return None if found is None else str(found)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was said of it."""
        return dict(self._data["metadata"])

    @property
    def digest(self) -> str:
        """By which equal contents are one version."""
        return str(self._data["digest"])

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return int(self._data["size_bytes"])

    @property
    def size(self) -> int:
        """The size in bytes, as wandb calls it."""
        return self.size_bytes

    @property
    def raw(self) -> Mapping[str, Any]:
        """All that the server said of it."""
        return self._data

    def wait(self, timeout: float | None = None) -> StoredArtifact:
        """Nothing to wait for: it is there."""
        del timeout
        return self

    def is_draft(self) -> bool:
        """It is a version."""
        return False

    def files(self) -> list[File]:
        """Its files, by path."""
        route = self._route()
        return list(read_files(self._connection, route, f"{route}/files"))

    def get_entry(self, name: str) -> File:
        """One of its files.

        Raises:
            KeyError: there is none of that path.
        """
        for file in self.files():
            if file.path == name:
                return file
        raise KeyError(f"there is no {name!r} in {self.name}")

    get_path = get_entry

    def download(self, root: str | Path | None = None) -> str:
        """Fetches all that the server keeps of it into a folder, and returns the folder.

        What lies there under the same names is replaced.

        Args:
            root: the folder; `artifacts/<name>:<version>` without one.

        Raises:
            StorageError: a file cannot be written.
        """
        folder = Path("artifacts", self.name) if root is None else Path(root)
        for file in self.files():
            if file.ref is None:
                file.download(folder, replace=True)
        return str(folder)

    def file(self, root: str | Path | None = None) -> str:
        """Fetches its only file, and returns where it lies.

        Raises:
            QueryError: it has none, or several.
        """
        found = self.files()
        if len(found) != 1:
            raise QueryError(f"{self.name} has {len(found)} files; use download() or get_entry().")
        return str(Path(self.download(root), found[0].path))

    def tell_used_by(self, entity: str, project: str, run_id: str) -> None:
        """Has the server remember that a run used it."""
        names = (entity, project, run_id, "uses", self.entity, self.project, self.name)
        self._connection.post(route_of("runs", *names))

    def _route(self) -> str:
        return route_of("artifacts", self.entity, self.project, self.name)


def find_artifact(
    connection: Connection, path: str, *, type_name: str | None = None
) -> StoredArtifact:
    """The version that a path names.

    Args:
        connection: to the server.
        path: `[entity/]project/name[:alias]`.
        type_name: refuses one of another type.

    Raises:
        QueryError: the path names none.
        RunNotFoundError: the server has none.
        UsageError: it is of another type.
    """
    parts = path.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):  # noqa: PLR2004 # entity/project/name
        raise QueryError(f"{path!r} names no artifact. Write [entity/]project/name:alias.")
    entity, project, name = ["-", *parts][-3:]
    try:
        data = connection.get(route_of("artifacts", entity, project, name), [("limit", 0)])
    except RunNotFoundError as error:
        raise RunNotFoundError(
            f"The upstream {connection.upstream} has no artifact {path!r}; the run that logs it "
            "may not have been sent yet."
        ) from error
    found = StoredArtifact(connection=connection, data=data)
    if type_name not in {None, found.type}:
        raise UsageError(f"The artifact {path!r} is of the type {found.type!r}, not {type_name!r}.")
    return found
