"""What people may change of a version, and which runs had to do with it."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kelt.api_client.artifact_facts import VersionFacts
from kelt.api_client.connection import Arguments, Connection
from kelt.api_client.paths import RunPath
from kelt.errors import RunNotFoundError
from kelt.values import plain_value

if TYPE_CHECKING:
    from kelt.api_client.run import Run


class ChangedArtifact(VersionFacts):
    """A version, as the server said and as it is to be. Mutable state: both.

    Attributes:
        description: free text.
        metadata: what JSON can say.
        aliases: other names of the version; one that another version has moves here.
        tags: labels.
        ttl: how long it is kept from when it was made; None: for ever.
    """

    description: str | None
    metadata: dict[str, Any]
    aliases: list[str]
    tags: list[str]
    ttl: dt.timedelta | None

    def __init__(self, *, connection: Connection, data: Mapping[str, Any]) -> None:
        super().__init__(connection=connection, data=data)
        self._take(data)

    def _take(self, data: Mapping[str, Any]) -> None:
        """What the server says is what it is."""
        self._data = data
        self.description = None if data["description"] is None else str(data["description"])
        self.metadata = copy.deepcopy(dict(data["metadata"]))
        self.aliases = list(data["aliases"])
        self.tags = list(data["tags"])
        ttl_s = data.get("ttl_s")
        self.ttl = None if ttl_s is None else dt.timedelta(seconds=ttl_s)

    def save(self) -> None:
        """Has the server change what was changed here.

        Raises:
            UsageError: a value of the metadata cannot be stored.
            QueryError: the server refuses an alias or a tag.
        """
        said: dict[str, Any] = {
            "description": self.description,
            "metadata": plain_value(self.metadata, "metadata", "artifact.save"),
            "tags": list(dict.fromkeys(self.tags)),
            "ttl_s": None if self.ttl is None else int(self.ttl.total_seconds()),
        }
        changed = {name: value for name, value in said.items() if value != self._data.get(name)}
        there = self._data["aliases"]
        added = [alias for alias in self.aliases if alias not in there]
        removed = [alias for alias in there if alias not in self.aliases]
        if added:
            changed["add_aliases"] = added
        if removed:
            changed["delete_aliases"] = removed
        if changed:
            self._take(self._connection.patch(self._route, changed))

    def delete(self, delete_aliases: bool = False) -> None:
        """Deletes the version on the server.

        Args:
            delete_aliases: whether one that has aliases is deleted with them.

        Raises:
            QueryError: it has aliases.
        """
        arguments: Arguments = [("with_aliases", "true")] if delete_aliases else []
        self._connection.delete(self._route, arguments)

    def logged_by(self) -> Run | None:
        """The run that logged it; None where nobody did, or the run is not there any more."""
        return None if (found := self._data["logged_by"]) is None else self._run(found)

    def used_by(self) -> list[Run]:
        """The runs that used it."""
        users = self._connection.get(self._route, [("limit", 0)])["used_by"]
        return [run for said in users if (run := self._run(said)) is not None]

    def _run(self, said: Mapping[str, str]) -> Run | None:
        from kelt.api_client.run import Run  # noqa: PLC0415 # which knows artifacts

        route = RunPath(said["entity"], said["project"], said["run_id"]).route
        try:
            return Run(connection=self._connection, data=self._connection.get(route))
        except RunNotFoundError:  # deleted, or on its way
            return None
