"""Files of runs: where those lie that wandb's clients put.

No name leads out of the folder: each part of one is quoted, a part of dots alone too.

    files/<entity>/<project>/<run id>/<name>      quoted; parts over 200 bytes by their digest
    files/<entity>/<project>/<run id>/…/.<random> on its way there
    files/.deleted/<random>                       of a deleted run, to be removed
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import anyio
import anyio.to_thread

from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, NotFoundError, StoreError, TooLargeError
from kelt_server.storage_quota import StorageQuota, tree_bytes

_PART_BYTES_MAX = 200
_PARTS_MAX = 64
_ASIDE = ".deleted"
_BY_DIGEST = "%%"
#: A file where a folder is to be, or the other way round; too long.
_OF_THE_NAME = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG)


class UploadFolder:
    """The files of all runs."""

    def __init__(
        self,
        folder: Path,
        *,
        file_bytes_max: int,
        quota: StorageQuota,
    ) -> None:
        self._folder = folder
        self._file_bytes_max = file_bytes_max
        self._quota = quota

    async def put(self, name: Name, file: str, content: AsyncIterator[bytes]) -> None:
        """Stores a file, all of it or nothing.

        Raises:
            BadRequestError: there can be no file of that name.
            TooLargeError: it is larger than a file may be.
            NoRoomError: there is no room for it.
            StoreError: it cannot be written.
        """
        path = self._path(name, file)
        partial = path.with_name(f".{secrets.token_hex(8)}")  # no quoted name begins with a dot
        try:
            await anyio.to_thread.run_sync(_make_folder, path.parent)
            try:
                with self._quota.taking() as take:
                    await self._write(partial, content, take)
                    replaced = await anyio.to_thread.run_sync(_put_in_place, partial, path)
            finally:
                await anyio.to_thread.run_sync(lambda: partial.unlink(missing_ok=True))
            self._quota.give_back(replaced)
        except OSError as error:
            sentence = f"the file {file[:200]!r} cannot be written: {error.strerror}"
            if error.errno in _OF_THE_NAME:  # it would be no better later
                raise BadRequestError(sentence) from error
            raise StoreError(sentence) from error

    async def _write(
        self, path: Path, content: AsyncIterator[bytes], take: Callable[[int], None]
    ) -> None:
        size_bytes = 0
        async with await anyio.open_file(path, "wb") as target:
            async for chunk in content:
                size_bytes += len(chunk)
                if size_bytes > self._file_bytes_max:
                    raise TooLargeError(f"a file may have {self._file_bytes_max} bytes at most")
                take(len(chunk))
                await target.write(chunk)
            await target.flush()
            await anyio.to_thread.run_sync(os.fsync, target.wrapped.fileno())

    def found(self, name: Name, file: str) -> Path:
        """Where a file lies.

        Raises:
            NotFoundError: it is not there.
        """
        path = self._path(name, file)
        if not _is_file(path):
            raise NotFoundError(f"there is no file {file[:200]!r} of {name[2]}")
        return path

    def names(self, name: Name) -> Iterator[tuple[str, int]]:
        """The files of a run with their sizes; those of very long names are not listed."""
        folder = self._run_folder(name)
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            is_named = not any(part.startswith((".", _BY_DIGEST)) for part in parts)
            if is_named and path.is_file():
                yield _unquoted(parts), path.stat().st_size

    def remove(self, name: Name, file: str) -> None:
        """Removes one file.

        Raises:
            NotFoundError: it is not there.
            StoreError: it cannot be removed.
        """
        try:
            path = self.found(name, file)
            size_bytes = path.stat().st_size
            path.unlink()
        except OSError as error:
            raise StoreError(f"{file!r} cannot be removed: {error.strerror}") from error
        self._quota.give_back(size_bytes)

    def set_aside(self, name: Name) -> None:
        """All files of a run, at once; `remove_aside` removes them.

        Raises:
            StoreError: they cannot be moved.
        """
        aside = self._folder / _ASIDE / secrets.token_hex(8)
        try:
            _make_folder(aside.parent)
            self._run_folder(name).rename(aside)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"the files of {name[2]} stay: {error.strerror}") from error

    def remove_aside(self) -> None:
        """Removes what was set aside, as far as it can be."""
        aside = self._folder / _ASIDE
        size_bytes = tree_bytes(aside)
        shutil.rmtree(aside, ignore_errors=True)
        self._quota.give_back(size_bytes - tree_bytes(aside))

    def _run_folder(self, name: Name) -> Path:
        return self._folder.joinpath(*(_quoted(part) for part in name))

    def _path(self, name: Name, file: str) -> Path:
        parts = file.split("/")
        if len(parts) > _PARTS_MAX or not all(parts) or any(p in (".", "..") for p in parts):
            raise BadRequestError(f"{file[:100]!r} cannot be the name of a file")
        return self._run_folder(name).joinpath(*(_quoted(part) for part in parts))


def _quoted(part: str) -> str:
    raw = part.encode("utf-8", "surrogatepass")
    name = quote(raw, safe=" ")
    if len(name) > _PART_BYTES_MAX:
        return f"{_BY_DIGEST}{hashlib.sha256(raw).hexdigest()}"
    if not name.strip("."):
        return name.replace(".", "%2E") or "%"
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _unquoted(parts: Sequence[str]) -> str:
    return "/".join(unquote(part, errors="surrogatepass") for part in parts)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long to be one
        return False


def _put_in_place(partial: Path, path: Path) -> int:
    """Renames a whole file; returns the size of the one that was there."""
    replaced = path.stat().st_size if path.is_file() else 0
    partial.replace(path)
    return replaced


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
