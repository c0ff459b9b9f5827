"""Files of artifacts on disk, each content once in an entity; and manifests.

    artifacts/blobs/<entity>/<first two digits>/<MD5 in hex>     entity quoted
    artifacts/manifests/<first two digits>/<manifest id>.json
    artifacts/incoming/<random>                                  being written; emptied at the start

What lies under its name is whole and has the content that the name says: it is written elsewhere,
checked, synced and renamed. Names are by MD5 because that is what clients know files by; an entity
is the bound within which one may hand a file to another.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

import anyio
import anyio.to_thread

from kelt_server.errors import BadRequestError, StoreError, TooLargeError
from kelt_server.folder_sync import sync_folder
from kelt_server.storage_quota import StorageQuota

_NAME_BYTES_MAX = 200


class BlobStore:
    """Writes, finds and removes them."""

    def __init__(self, folder: Path, *, quota: StorageQuota, file_bytes_max: int) -> None:
        self._blobs = folder / "blobs"
        self._manifests = folder / "manifests"
        self._incoming = folder / "incoming"
        self._quota = quota
        self._file_bytes_max = file_bytes_max
        _clear(self._incoming)

    def blob(self, entity: str, md5: str) -> Path:
        """Where the content with an MD5 lies, if it is there."""
        return self._blobs / _quoted(entity) / md5[:2] / md5

    def manifest(self, manifest_id: str) -> Path:
        """Where a manifest lies, if it is there."""
        return self._manifests / manifest_id[:2] / f"{manifest_id}.json"

    def has_blob(self, entity: str, md5: str) -> bool:
        """Whether a content is there; if so it counts as new, so that no sweep takes it soon."""
        try:
            os.utime(self.blob(entity, md5))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"an artifact's file cannot be read: {error.strerror}") from error
        return True

    async def put_blob(self, entity: str, md5: str, content: AsyncIterator[bytes]) -> None:
        """Stores a content under its MD5, all of it or nothing.

        Raises:
            BadRequestError: it has another MD5.
            TooLargeError, NoRoomError, StoreError: it cannot be kept.
        """

        def check(found: bytes) -> None:
            if found.hex() != md5:
                raise BadRequestError(
                    f"the file has the MD5 {found.hex()} and not {md5}: it was changed after it "
                    "was added to the artifact, or on its way; log the artifact again"
                )

        await self._put(self.blob(entity, md5), content, check, self._file_bytes_max)

    async def put_manifest(
        self, manifest_id: str, digest: str, content: AsyncIterator[bytes], *, bytes_max: int
    ) -> None:
        """Stores a manifest; `digest` is its MD5 in base64, where that was said.

        Raises:
            As `put_blob`.
        """

        def check(found: bytes) -> None:
            if digest and base64.b64encode(found).decode() != digest:
                raise BadRequestError("the manifest did not come as it was announced")

        await self._put(self.manifest(manifest_id), content, check, bytes_max)

    def write_manifest(self, manifest_id: str, content: bytes) -> None:
        """Stores a manifest that the server made."""
        incoming = _Incoming(self._incoming / secrets.token_hex(16))
        try:
            with self._quota.taking() as take:
                take(len(content))
                incoming.open()
                incoming.write(content)
                incoming.put_in_place(self.manifest(manifest_id))
        except OSError as error:
            raise StoreError(f"a manifest cannot be written: {error.strerror}") from error

    def read_manifest(self, manifest_id: str) -> bytes:
        """What was put.

        Raises:
            FileNotFoundError: nothing was.
            StoreError: it cannot be read.
        """
        try:
            return self.manifest(manifest_id).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"a manifest cannot be read: {error.strerror}") from error

    async def _put(
        self,
        path: Path,
        content: AsyncIterator[bytes],
        check: Callable[[bytes], None],
        bytes_max: int,
    ) -> None:
        incoming = _Incoming(self._incoming / secrets.token_hex(16))
        try:
            with self._quota.taking() as take:
                await anyio.to_thread.run_sync(incoming.open)
                try:
                    async for chunk in content:
                        incoming.check(len(chunk), bytes_max)
                        take(len(chunk))
                        await anyio.to_thread.run_sync(incoming.write, chunk)
                    check(incoming.md5())
                    replaced = await anyio.to_thread.run_sync(incoming.put_in_place, path)
                except BaseException:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(incoming.discard)
                    raise
            self._quota.give_back(replaced)
        except OSError as error:
            raise StoreError(f"an artifact's file cannot be written: {error.strerror}") from error

    # -- sweeping -------------------------------------------------------------------------------

    def old_blobs(self, before: float) -> Iterator[tuple[str, list[str]]]:
        """(entity, MD5s) of contents that were put, or asked for, before a time; by folder."""
        for folder in _folders(self._blobs):
            for part in _folders(folder):
                found = [path.name for path in _files(part) if _is_older(path, before)]
                if found:
                    yield _unquoted(folder.name), found

    def old_manifests(self, before: float) -> Iterator[list[str]]:
        """Likewise of manifests."""
        for part in _folders(self._manifests):
            found = [path.stem for path in _files(part) if _is_older(path, before)]
            if found:
                yield found

    def remove(self, path: Path, *, before: float) -> bool:
        """Removes what is still as old as it was found to be."""
        try:
            if not _is_older(path, before):
                return False
            size_bytes = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror}") from error
        self._quota.give_back(size_bytes)
        return True


class _Incoming:
    """A file that is being written. Mutable state: how much of it there is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hasher = hashlib.md5(usedforsecurity=False)
        self.size_bytes = 0

    def open(self) -> None:
        _make_folder(self._path.parent)
        self._file = self._path.open("wb")

    def check(self, more_bytes: int, bytes_max: int) -> None:
        if self.size_bytes + more_bytes > bytes_max:
            raise TooLargeError(f"a file may have {bytes_max} bytes at most")

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hasher.update(piece)
        self.size_bytes += len(piece)

    def md5(self) -> bytes:
        return self._hasher.digest()

    def put_in_place(self, path: Path) -> int:
        """Syncs and renames it; returns the size of the one that was there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        _make_folder(path.parent)
        replaced = path.stat().st_size if path.exists() else 0
        self._path.replace(path)
        sync_folder(path.parent)
        return replaced

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """What a server that was killed had not written to the end."""
    for path in _files(folder):
        with suppress(OSError):
            path.unlink()


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except FileNotFoundError:
        return []


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _quoted(entity: str) -> str:
    """A folder's name, from which the entity can be told again."""
    name = "%" + quote(entity.encode("utf-8", "surrogatepass"), safe="")
    if len(name) > _NAME_BYTES_MAX:
        raise BadRequestError(f"{entity[:100]!r} is too long for an entity that has artifacts")
    return name


def _unquoted(name: str) -> str:
    return unquote(name[1:], errors="surrogatepass")
