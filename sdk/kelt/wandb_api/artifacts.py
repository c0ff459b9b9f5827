"""`wandb.Artifact`, over kelt's."""

from __future__ import annotations

from kelt.active import active
from kelt.artifacts import Artifact as KeltArtifact
from kelt.errors import UsageError
from kelt.wandb_api.missing import missing_method


class Artifact(KeltArtifact):
    """Files that a run logs as a version; what kelt has not of wandb's is refused by name."""

    def save(self, project: str | None = None, settings: object = None) -> None:
        """Has the current run log it; of a version, has the server change what was changed here.

        Raises:
            UsageError: no run is open.
        """
        del project, settings
        if not self.is_draft():
            super().save()
            return
        if active.current is None:
            raise UsageError("artifact.save: no run is open; call wandb.init() first.")
        active.current.log_artifact(self)

    link = missing_method("wandb.Artifact.link")
    unlink = missing_method("wandb.Artifact.unlink")
