"""What an MLflow run has beside parameters, tags and metrics: files, and what is only counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kelt.import_files import FoundFiles, find_files
from kelt.other_trackers.foreign_run import Tally

#: Where a run is said to have had something else than parameters, tags and metrics.
KINDS = {"DATASET": "dataset", "RUN_OUTPUT": "model", "RUN_INPUT": "model"}
TRACE = "trace"
_LOCAL_SCHEMES = ("", "file")


@dataclass(kw_only=True)
class Besides:
    """What a store says of it.

    Attributes:
        artifact_uri: where the run's artifacts are.
        artifact_folder: the same on this machine; None where they are elsewhere.
        counts: of the rest, by what people call it.
    """

    artifact_uri: str
    artifact_folder: Path | None
    counts: Counter[str] = field(default_factory=Counter)

    def files(self) -> FoundFiles:
        """The files of the artifacts, as far as they are here."""
        if self.artifact_folder is None:
            return FoundFiles()
        return find_files(self.artifact_folder, follows_links=False)

    def tell(self, tally: Tally) -> None:
        """Hands the files on, and counts the rest."""
        tally.files = self.files()
        tally.not_carried.update(self.counts + tally.files.left_out)
        if self.artifact_folder is None:
            tally.remarks.append(f"its artifacts at {self.artifact_uri} were not looked at")


def local_folder(uri: str, base: Path, store: Path) -> Path | None:
    """The folder that MLflow names, a relative one from `base`; None where it is elsewhere.

    Elsewhere is, too, what does not lie in the store's folder: a store may come from others, and
    name any folder of this machine. What is named need not be there: MLflow makes it with the first
    file, and a store may have been moved.
    """
    parts = urlsplit(uri)
    if parts.scheme not in _LOCAL_SCHEMES:
        return None
    place = base / (unquote(parts.path) or "artifacts")
    return None if place.exists() and not place.resolve().is_relative_to(store.resolve()) else place
