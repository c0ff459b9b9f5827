"""What a server says of a version of an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kelt.api_client.connection import Connection
from kelt.api_client.files import route_of


class VersionFacts:
    """What never changes of a version of an artifact.

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
    def id(self) -> str:
        """By which the server knows it, as wandb's clients have it."""
        return str(self._data["id"])

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
    def state(self) -> str:
        """It is there."""
        return "COMMITTED"

    @property
    def file_count(self) -> int:
        """How many files it has."""
        return int(self._data["file_count"])

    @property
    def created_at(self) -> float:
        """When it was made, in Unix seconds."""
        return float(self._data["created_at"])

    @property
    def raw(self) -> Mapping[str, Any]:
        """All that the server said of it."""
        return self._data

    @property
    def _route(self) -> str:
        return route_of("artifacts", self.entity, self.project, self.name)
