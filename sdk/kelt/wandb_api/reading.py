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
        if "/" not in name:
            chosen = of_environment(os.environ)
            name = f"{chosen.get('project', DEFAULT_PROJECT)}/{name}"
        try:
            return super().artifact(name, type)
        except RunNotFoundError as error:
            raise CommError(str(error)) from None

    artifacts = missing_method("wandb.Api.artifacts")
    artifact_type = missing_method("wandb.Api.artifact_type")
    sweep = missing_method("wandb.Api.sweep")
    reports = missing_method("wandb.Api.reports")
    create_project = missing_method("wandb.Api.create_project")
    upload_file = missing_method("wandb.Api.upload_file")
