"""`kelt.Api`: where reading begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kelt.api_client.artifacts import (
    Collection,
    StoredArtifact,
    find_artifact,
    find_collections,
    find_versions,
)
from kelt.api_client.connection import Connection
from kelt.api_client.filters import encode_filters, iso_time
from kelt.api_client.paths import parse_project_path, parse_run_path
from kelt.api_client.records import Project
from kelt.api_client.run import Run
from kelt.api_client.runs import Runs
from kelt.errors import RunNotFoundError, UsageError
from kelt.settings import Settings, load_settings
from kelt.wandb_upstream import is_wandb

if TYPE_CHECKING:
    from typing_extensions import Self


class Api:
    """Reads projects, runs and histories from a kelt server.

    Args:
        upstream: its address; by default what KELT_UPSTREAM or the config file names.
        api_key: by default what KELT_API_KEY or the config file names.
        timeout_s: how long one request may take.

    Raises:
        UsageError: the address is not one, or a setting cannot be understood.
    """

    def __init__(
        self, upstream: str | None = None, api_key: str | None = None, timeout_s: float = 30.0
    ) -> None:
        settings = load_settings({"upstream": upstream, "api_key": api_key}, os.environ)
        if is_wandb(settings.upstream):
            raise UsageError(
                f"kelt.Api reads from kelt servers, and {settings.upstream} is a W&B server; read "
                f"there with wandb.Api(), or name a kelt server."
            )
        self._connection = connect(settings, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections to the server."""
        self._connection.close()

    @property
    def upstream(self) -> str:
        """The server's address."""
        return self._connection.upstream

    def info(self) -> dict[str, Any]:
        """What the server says of itself: version, protocol, default entity, counters."""
        return dict(self._connection.get("/info"))

    def server_time(self) -> float | None:
        """The server's clock (Unix seconds, to the second), or None where it does not tell."""
        return self._connection.server_time()

    def projects(self) -> list[Project]:
        """The projects that have runs."""
        return [
            Project(
                item["entity"], item["project"], item["runs"], iso_time(item["last_started_at"])
            )
            for item in self._connection.get("/projects")["projects"]
        ]

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str = "-created_at",
        per_page: int = 50,
        *,
        entity: str | None = None,
    ) -> Runs:
        """The runs of a project: a sequence that fetches a page when something of it is wanted.

        Args:
            path: `[entity/]project`; without it, all runs of the default entity.
            filters: conditions in MongoDB's manner, such as `{"state": "failed"}` or
                `{"config.lr": {"$gt": 0.01}}`.
            order: `+path` or `-path`, several joined by commas; `-created_at` is newest first.
            per_page: runs a request, at most 1000.
            entity: whose, where the path names none; `*` for all that the key opens.

        Raises:
            QueryError: an argument does not fit.
        """
        arguments: dict[str, str] = {"order": order}
        if path is not None:
            named, arguments["project"] = parse_project_path(path)
            entity = named or entity
        if entity:
            arguments["entity"] = entity
        if filters is not None and filters != {}:
            arguments["filters"] = encode_filters(filters)
        return Runs(connection=self._connection, arguments=arguments, per_page=per_page)

    def run(self, path: str) -> Run:
        """One run.

        Args:
            path: `[entity/]project/run_id`; an immutable id works in the run id's place, and alone.

        Raises:
            QueryError: the path names no run.
            RunNotFoundError: the server knows no such run.
        """
        parsed = parse_run_path(path)
        try:
            return Run(connection=self._connection, data=self._connection.get(parsed.route))
        except RunNotFoundError as error:
            remedy = (
                "`kelt runs ls --all` lists what is there."
                if parsed.project
                else "A run id wants its project before it: project/run_id."
            )
            raise RunNotFoundError(
                f"The upstream {self.upstream} knows no run {str(parsed)!r}. {remedy}"
            ) from error

    def artifact(self, name: str, type: str | None = None) -> StoredArtifact:  # noqa: A002 # wandb's
        """A version of an artifact.

        Args:
            name: `[entity/]project/name[:alias]`; an alias is one that was given, `latest` (which
                it is without one), or a version such as `v3`.
            type: refuses one of another type.

        Raises:
            QueryError: the name is none.
            RunNotFoundError: the server has none.
            UsageError: it is of another type.
        """
        return find_artifact(self._connection, name, type_name=type)

    def artifacts(self, type_name: str | None, name: str) -> list[StoredArtifact]:
        """Every version of a name, the newest first.

        Args:
            type_name: none where they are of another type; of any without one.
            name: `[entity/]project/name`.

        Raises:
            QueryError: the name is none.
            RunNotFoundError: the server has none.
        """
        return find_versions(self._connection, name, type_name=type_name)

    def artifact_collections(
        self, project_name: str, type_name: str | None = None
    ) -> list[Collection]:
        """The names of a project's artifacts, of one type or of all.

        Args:
            project_name: `[entity/]project`.
            type_name: without one, of all.
        """
        return find_collections(self._connection, project_name, type_name=type_name)

    def artifact_exists(self, name: str, type: str | None = None) -> bool:  # noqa: A002 # as above
        """Whether the server has a version."""
        try:
            found = find_artifact(self._connection, name)
        except RunNotFoundError:
            return False
        return type in {None, found.type}


def connect(settings: Settings, *, timeout_s: float) -> Connection:
    """To the server that settings name."""
    return Connection(
        upstream=settings.upstream,
        api_key=settings.api_key,
        timeout_s=timeout_s,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
    )
