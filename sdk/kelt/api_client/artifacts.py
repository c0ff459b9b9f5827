"""Versions of artifacts that a server has, to be looked at, fetched and used."""

from __future__ import annotations

from dataclasses import dataclass

from kelt.api_client.artifact_changes import ChangedArtifact
from kelt.api_client.artifact_contents import ContentsOfArtifact
from kelt.api_client.connection import Connection
from kelt.api_client.errors import QueryError
from kelt.api_client.files import route_of
from kelt.api_client.paths import parse_project_path
from kelt.errors import RunNotFoundError, UsageError


class StoredArtifact(ContentsOfArtifact, ChangedArtifact):
    """A version of an artifact.

    Args:
        connection: to the server.
        data: an ARTIFACT of the read API.
    """

    def wait(self, timeout: float | None = None) -> StoredArtifact:
        """Nothing to wait for: it is there."""
        del timeout
        return self

    def is_draft(self) -> bool:
        """It is a version."""
        return False

    def tell_used_by(self, entity: str, project: str, run_id: str) -> None:
        """Has the server remember that a run used it."""
        names = (entity, project, run_id, "uses", self.entity, self.project, self.name)
        self._connection.post(route_of("runs", *names))

    def _other(self, name: str) -> StoredArtifact:
        return find_artifact(self._connection, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """All versions of one name."""

    entity: str
    project: str
    name: str
    type: str
    description: str | None
    tags: tuple[str, ...]


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
    names = _names_in(path)
    try:
        data = connection.get(route_of("artifacts", *names), [("limit", 0)])
    except RunNotFoundError as error:
        raise RunNotFoundError(
            f"The upstream {connection.upstream} has no artifact {path!r}; the run that logs it "
            "may not have been sent yet."
        ) from error
    found = StoredArtifact(connection=connection, data=data)
    if type_name not in {None, found.type}:
        raise UsageError(f"The artifact {path!r} is of the type {found.type!r}, not {type_name!r}.")
    return found


def find_versions(
    connection: Connection, path: str, *, type_name: str | None = None
) -> list[StoredArtifact]:
    """Every version of a name, the newest first.

    Args:
        connection: to the server.
        path: `[entity/]project/name`.
        type_name: of them; none where they are of another.

    Raises:
        QueryError: the path names none.
        RunNotFoundError: the server has none.
    """
    route = route_of("artifacts", *_names_in(path), "versions")
    found = connection.get(route)["versions"]
    versions = [StoredArtifact(connection=connection, data=data) for data in found]
    return [version for version in versions if type_name in {None, version.type}]


def find_collections(
    connection: Connection, path: str, *, type_name: str | None = None
) -> list[Collection]:
    """The names of a project's artifacts.

    Args:
        connection: to the server.
        path: `[entity/]project`.
        type_name: of them, or all.
    """
    entity, project = parse_project_path(path)
    found = connection.get(route_of("artifacts", entity or "-", project))["collections"]
    return [
        Collection(
            entity=said["entity"], project=said["project"], name=said["name"], type=said["type"],
            description=said["description"], tags=tuple(said["tags"]),
        )
        for said in found
        if type_name in {None, said["type"]}
    ]  # fmt: skip


def _names_in(path: str) -> list[str]:
    parts = path.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):  # noqa: PLR2004 # entity/project/name
        raise QueryError(f"{path!r} names no artifact. Write [entity/]project/name:alias.")
    return ["-", *parts][-3:]
