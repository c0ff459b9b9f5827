"""Content under its digest: pieces of files that came as records.

What no fact names any more, because its run was deleted, is removed (`remove`).

Format: `objects/<first two digits>/<SHA-256 of the content, in hex>`. An object is written aside,
synced and renamed, before the catalog commits the fact that names it: so what a fact names is
there. A crash in between leaves an object that nobody names, which the same piece, sent again,
takes up. What is there already is not written again, whoever sends it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from kelt_server.errors import StoreError
from kelt_server.folder_sync import sync_folder


class ObjectStore:
    """Keeps content in a folder. Blocking; it is changed by the committing thread alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, object_id: str) -> Path:
        """Where an object lies, or would."""
        return self._folder / object_id[:2] / object_id

    def put(self, object_id: str, content: bytes) -> None:
        """Keeps content; on disk when this returns.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.path(object_id)
        partial = path.with_name(f"{secrets.token_hex(8)}.partial")
        try:
            if path.is_file() and path.stat().st_size == len(content):
                return
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with partial.open("wb") as target:
                    target.write(content)
                    target.flush()
                    os.fsync(target.fileno())
                partial.replace(path)
                sync_folder(path.parent)
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"a piece of a file cannot be kept: {error.strerror}") from error

    def remove(self, object_id: str) -> None:
        """Removes content; what cannot be removed stays."""
        with contextlib.suppress(OSError):
            self.path(object_id).unlink(missing_ok=True)
