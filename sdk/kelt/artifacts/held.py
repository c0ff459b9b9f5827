"""Contents that a server has, of an artifact that is made of a version there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.artifacts.staging import Staging
from kelt.errors import StorageError, UpstreamError

if TYPE_CHECKING:
    from kelt.api_client.files import File


@dataclass(frozen=True, kw_only=True)
class HeldContents:
    """Where contents are.

    Attributes:
        files: by MD5.
        upstream: which has them.
        entities: within which it need not be sent them again; "" is the server's own.
    """

    files: Mapping[str, File]
    upstream: str
    entities: frozenset[str]

    def is_at(self, upstream: str, entity: str) -> bool:
        """Whether they are where an artifact goes."""
        return upstream.rstrip("/") == self.upstream.rstrip("/") and entity in self.entities

    def fetch(self, md5: str, staging: Staging) -> Path:
        """Fetches one to this disk.

        Raises:
            UpstreamError: it is not what it was, or the server cannot be asked.
            StorageError: it cannot be written.
        """
        file, path = self.files[md5], staging.new_path()
        try:
            file.write(path)
            found, _ = staging.add(path, may_link=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"{file.path!r} cannot be fetched to this disk ({error.strerror or error})."
            ) from error
        if found != md5:
            raise UpstreamError(f"{file.path!r} is not what it was when it was logged.")
        return staging.path(md5)
