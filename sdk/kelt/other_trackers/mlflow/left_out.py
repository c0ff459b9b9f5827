"""What of an MLflow run is not taken over, counted so that it can be told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kelt.other_trackers.foreign_run import Tally

#: Where a run is said to have had something else than parameters, tags and metrics.
KINDS = {"DATASET": "dataset", "RUN_OUTPUT": "model", "RUN_INPUT": "model"}
TRACE = "trace"
_FILE = "artifact file"
_LOCAL_SCHEMES = ("", "file")


@dataclass(kw_only=True)
class LeftOut:
    """What a store says of it.

    Attributes:
        artifact_uri: where the run's artifacts are.
        artifact_folder: the same on this machine; None where they are elsewhere.
        counts: of the rest, by what people call it.
    """

    artifact_uri: str
    artifact_folder: Path | None
    counts: Counter[str] = field(default_factory=Counter)

    def tell(self, tally: Tally) -> None:
        """Counts it, and the files of the artifacts."""
        tally.not_carried.update(self.counts)
        if self.artifact_folder is None:
            tally.remarks.append(f"its artifacts at {self.artifact_uri} were not looked at")
        else:
            files = sum(path.is_file() for path in self.artifact_folder.rglob("*"))
            tally.not_carried[_FILE] += files


def local_folder(uri: str, base: Path) -> Path | None:
    """The folder that MLflow names, a relative one from `base`; None where it is elsewhere.

    It may not be there: MLflow makes it with the first file.
    """
    parts = urlsplit(uri)
    if parts.scheme not in _LOCAL_SCHEMES:
        return None
    return base / (unquote(parts.path) or "artifacts")
