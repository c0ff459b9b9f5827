"""`wandb.Api`, over kelt's."""

from __future__ import annotations

import os

from kelt.api_client import Api as KeltApi
from kelt.api_client.artifacts import StoredArtifact
from kelt.api_client.run import Run
from kelt.errors import RunNotFoundError
from kelt.settings import DEFAULT_PROJECT
from kelt.wandb_api.errors import CommError
from kelt.wandb_api.missing import missing_method
from kelt.wandb_api.settings import of_environment


class Api(KeltApi):
    """Projects, runs and their histories of a kelt server.

    Args:
        overrides: wandb's settings, which have no effect.
        timeout: how long one request may take, in seconds.
        api_key: W&B's key, which is not sent to a kelt server.
    """

    def __init__(
        self, overrides: object = None, timeout: float | None = None, api_key: object = None
    ) -> None:
        del overrides, api_key
        super().__init__(timeout_s=timeout or 30.0)

    def run(self, path: str = "") -> Run:
        """One run, by entity/project/id.

        Raises:
            CommError: there is none, or the server cannot be reached.
        """
        try:
            return super().run(path)
        except RunNotFoundError as error:
            raise CommError(str(error)) from None

    def artifact(self, name: str, type: str | None = None) -> StoredArtifact:  # noqa: A002 # as wandb
        """A version of an artifact, by [[entity/]project/]name:alias.

        Raises:
            CommError: there is none, or the server cannot be reached.
        """
        try:
            return super().artifact(_whole(name), type)
        except RunNotFoundError as error:
            raise CommError(str(error)) from None

    def artifacts(
        self,
        type_name: str | None,
        name: str,
        per_page: int | None = None,
        tags: str | list[str] | None = None,
    ) -> list[StoredArtifact]:
        """Every version of a name, the newest first.

        Raises:
            CommError: there is no such name, or the server cannot be reached.
        """
        del per_page
        wanted = {tags} if isinstance(tags, str) else set(tags or ())
        try:
            found = super().artifacts(type_name, _whole(name))
        except RunNotFoundError as error:
            raise CommError(str(error)) from None
        return [version for version in found if wanted <= set(version.tags)]

    def artifact_exists(self, name: str, type: str | None = None) -> bool:  # noqa: A002 # as wandb
        """Whether the server has a version."""
        return super().artifact_exists(_whole(name), type)

    artifact_type = missing_method("wandb.Api.artifact_type")
    artifact_types = missing_method("wandb.Api.artifact_types")
    artifact_collection = missing_method("wandb.Api.artifact_collection")
    sweep = missing_method("wandb.Api.sweep")
    reports = missing_method("wandb.Api.reports")
    create_project = missing_method("wandb.Api.create_project")
    upload_file = missing_method("wandb.Api.upload_file")


def _whole(name: str) -> str:
    """A name with the project, and the entity, that the environment says."""
    chosen = of_environment(os.environ)
    if "/" not in name:
        name = f"{chosen.get('project', DEFAULT_PROJECT)}/{name}"
    entity = chosen.get("entity")
    return f"{entity}/{name}" if entity and name.count("/") == 1 else name
