"""Files of a run folder on their way to W&B: `wandb-<digest>-<key>.part` beside the run's book.

Pieces are written at their offsets and synced before the book says that they are there. One that
is written again, after a death in between, is the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from itertools import groupby
from pathlib import Path

from kelt_daemon.upstream.wandb.carried_run import CarriedFile
from kelt_daemon.upstream.wandb.file_pieces import Piece
from kelt_daemon.upstream.wandb.progress_file import progress_path

_CHUNK_BYTES = 2**20


class FileSpool:
    """Those of one run and one server.

    Args:
        home: the run folder.
        url: the server's address.
    """

    def __init__(self, home: Path, url: str) -> None:
        self._beside = progress_path(home, url)

    def path(self, key: str) -> Path:
        """Where a file lies."""
        return self._beside.with_name(f"{self._beside.stem}-{key}.part")

    def write(self, pieces: Iterable[Piece]) -> dict[str, OSError]:
        """Writes pieces, and returns what went wrong, by file."""
        errors: dict[str, OSError] = {}
        for key, those in groupby(pieces, key=lambda piece: piece.key):
            try:
                self._write(key, those)
            except OSError as error:
                errors[key] = error
        return errors

    def _write(self, key: str, pieces: Iterable[Piece]) -> None:
        descriptor = os.open(self.path(key), os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            for piece in pieces:
                target.seek(piece.offset_bytes)
                target.write(piece.content)
            target.flush()
            os.fsync(descriptor)

    def is_intact(self, key: str, file: CarriedFile) -> bool:
        """Whether what lies there is the version that it is said to be."""
        digest = hashlib.sha256()
        try:
            with self.path(key).open("rb") as source:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError:
            return False
        return digest.hexdigest() == file.version

    def sweep(self, keys: Collection[str]) -> None:
        """Removes what a death has left of files that are none of these."""
        wanted = {self.path(key) for key in keys}
        for path in self._beside.parent.glob(f"{self._beside.stem}-*.part"):
            if path not in wanted:
                path.unlink(missing_ok=True)

    def remove(self, key: str) -> None:
        """Its room is needed no more."""
        self.path(key).unlink(missing_ok=True)
