"""What the schema says of files of runs, and the addresses at which they are put and fetched."""

from __future__ import annotations

from collections.abc import Callable
from mimetypes import guess_type
from typing import Any

from kelt_server.branch_names import Name
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.reader import RunReader
from kelt_server.uploads import UploadFolder
from kelt_server.wandb_api import run_answers
from kelt_server.wandb_api.arguments import connection, cursor, given, limit
from kelt_server.wandb_api.file_addresses import FileAddresses

_FILES_MAX = 10_000


class FileAnswers:
    """Of one execution.

    Args:
        reader: of what is open to who asks.
        uploads: what clients put.
        files: that, and what came as records.
        addresses: at which they are.
        base: of this server's addresses, as the client names it.
        key_id: of who asks.
    """

    def __init__(
        self,
        *,
        reader: RunReader,
        uploads: UploadFolder,
        files: FilesOfRuns,
        addresses: FileAddresses,
        base: str,
        key_id: str,
    ) -> None:
        self._reader = reader
        self._uploads = uploads
        self._files = files
        self._addresses = addresses
        self._base = base
        self._key_id = key_id

    def of_run(self, name: Name) -> Callable[..., dict[str, Any]]:
        """The files of a run, by path."""

        def resolve(_info: object, **said: Any) -> dict[str, Any]:
            asked = given(said)
            names = asked.get("names")
            wanted = names if isinstance(names, list) and names else None
            found = [
                file
                for file in self._files.all(self._reader.files, name, name)
                if wanted is None or file.path in wanted
            ]
            start = cursor(asked.get("after"))
            stop = start + limit(asked.get("first"), 50, _FILES_MAX)
            nodes = [self._file(name, file.path, file.size_bytes) for file in found[start:stop]]
            return connection(nodes, start=start, total=len(found))

        return resolve

    def to_put(self, name: Name, file: str) -> dict[str, Any]:
        """Where a client puts one."""
        address = self._addresses.signed(self._base, "PUT", name, file, key_id=self._key_id)
        return {"name": file, "uploadUrl": address}

    def remove(self, name: Name, file: str) -> None:
        """Removes one that a client put.

        Raises:
            NotFoundError: it is not there.
            StoreError: it cannot be removed.
        """
        self._uploads.remove(name, file)

    def _file(self, name: Name, file: str, size_bytes: int) -> dict[str, Any]:
        direct = self._addresses.signed(self._base, "GET", name, file, key_id=self._key_id)
        return {
            "id": run_answers.file_id(name, file),
            "name": file, "url": self._addresses.keyed(self._base, name, file),
            "directUrl": direct, "sizeBytes": size_bytes,
            "mimetype": guess_type(file)[0] or "application/octet-stream",
            "updatedAt": None, "md5": None,
        }  # fmt: skip
