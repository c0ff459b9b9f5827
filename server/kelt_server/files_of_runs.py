"""The files of a run, whoever brought them: wandb's clients put some, others came as records."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kelt_server.branch_names import Name
from kelt_server.errors import NotFoundError
from kelt_server.run_files import RunFiles
from kelt_server.uploads import UploadFolder


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a run. `sha256` (hex) and `changed_at` (Unix seconds) where they are known."""

    path: str
    size_bytes: int
    sha256: str | None = None
    changed_at: float | None = None


class FilesOfRuns:
    """Both kinds together. What was put for a name counts, where both have a path."""

    def __init__(self, uploads: UploadFolder) -> None:
        self._uploads = uploads

    def all(self, recorded: RunFiles, run: Name | None, where: Name) -> list[FoundFile]:
        """Every file, by path.

        Args:
            recorded: finds what came as records, as far as it is open to who asks.
            run: entity, project and run id; None of a branch that does not hold its name, whose
                files are the holder's.
            where: how it was asked for: as `run`, or with an immutable id.
        """
        found = {
            file.name: FoundFile(file.name, file.size_bytes, file.version, file.at or None)
            for file in recorded.all(where)
        }
        if run is not None:
            found |= {path: FoundFile(path, size) for path, size in self._uploads.names(run)}
        return [found[path] for path in sorted(found)]

    def content(
        self, recorded: RunFiles, run: Name | None, where: Name, path: str
    ) -> Path | Iterator[bytes]:
        """Where a file lies, or what is in it.

        Raises:
            NotFoundError: there is none of that path.
        """
        if run is not None:
            with contextlib.suppress(NotFoundError):
                return self._uploads.found(run, path)
        return recorded.content(where, path)[1]
