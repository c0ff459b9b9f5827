"""The files of runs, whichever way they came: as records, or put by a wandb client."""

from __future__ import annotations

from typing import Any

from starlette.responses import FileResponse, Response, StreamingResponse

from kelt_server.branch_names import Name
from kelt_server.errors import NotFoundError
from kelt_server.reader import RunReader
from kelt_server.wandb_api.uploads import UploadFolder

_BYTES = "application/octet-stream"


class FileAnswers:
    """Of two files of one name, that which a client put is shown: it came by itself."""

    def __init__(self, *, reader: RunReader, uploads: UploadFolder | None) -> None:
        self._reader = reader
        self._uploads = uploads

    def all(self, run: Name) -> list[dict[str, Any]]:
        """Every file, by name."""
        found = {
            file.name: _said(file.name, file.size_bytes, file.version, file.at)
            for file in self._reader.files.all(run)
        }
        name = self._put_under(run)
        if name is not None and self._uploads is not None:
            found |= {file: _said(file, size, "", 0.0) for file, size in self._uploads.names(name)}
        return [found[name] for name in sorted(found)]

    def content(self, run: Name, file: str) -> Response:
        """One of them.

        Raises:
            NotFoundError: there is no such file.
        """
        name = self._put_under(run)
        if name is not None and self._uploads is not None:
            try:
                return FileResponse(self._uploads.found(name, file), media_type=_BYTES)
            except NotFoundError:
                pass
        _, pieces = self._reader.files.content(run, file)
        return StreamingResponse(pieces, media_type=_BYTES)

    def _put_under(self, run: Name) -> Name | None:
        """Clients put files under a run's name; an archived branch has none of them."""
        view = self._reader.run(*run)
        branch = view.line.branch
        return branch.name if view.held_by == branch.branch_id else None


def _said(name: str, size_bytes: int, version: str, at: float) -> dict[str, Any]:
    return {"name": name, "size_bytes": size_bytes, "sha256": version, "changed_at": at or None}
