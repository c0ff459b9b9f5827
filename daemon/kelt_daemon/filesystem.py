"""The disk as the journal needs it, so that a test can make it fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol

from kelt.journal.files import Disk, SegmentFiles


class Filesystem(SegmentFiles, Protocol):
    """Implementations raise OSError as the system does, and never do half of a creation."""

    def create(self, path: Path, size_bytes: int) -> int:
        """Makes a new file, for this user alone, with its room allocated; returns a descriptor.

        Raises:
            FileExistsError: there is one already.
        """

    def write_at(self, fd: int, data: bytes, offset_bytes: int) -> None:
        """Writes all of `data`."""

    def sync(self, fd: int) -> None:
        """Returns once the file's data are on the disk."""

    def sync_folder(self, folder: Path) -> None:
        """Returns once names made or removed in the folder are on the disk."""

    def sync_file(self, path: Path) -> None:
        """Returns once a file that somebody else wrote is on the disk."""

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Gives back the room behind."""

    def close(self, fd: int) -> None:
        """Forgets a descriptor."""

    def is_in_place(self, fd: int, path: Path, bytes_min: int) -> bool:
        """Whether an open file is still found by its name, and nobody has cut it short."""

    def read_open(self, fd: int, bytes_max: int) -> bytes:
        """The first bytes of an open file, even of one without a name."""

    def unlink(self, path: Path) -> None:
        """Removes a file; one that is not there is no error."""

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file another name, in place of a file that had it."""


class RealFilesystem(Disk):
    """The disk."""

    def create(self, path: Path, size_bytes: int) -> int:
        """As in `Filesystem`."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size_bytes)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return fd

    def write_at(self, fd: int, data: bytes, offset_bytes: int) -> None:
        """As in `Filesystem`."""
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset_bytes)
            view, offset_bytes = view[written:], offset_bytes + written

    def sync(self, fd: int) -> None:
        """As in `Filesystem`."""
        os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        """As in `Filesystem`; some filesystems cannot be asked to, and say so."""
        try:
            _sync_at(folder, os.O_DIRECTORY)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise

    def sync_file(self, path: Path) -> None:
        """As in `Filesystem`."""
        _sync_at(path, 0)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """As in `Filesystem`."""
        os.ftruncate(fd, size_bytes)

    def close(self, fd: int) -> None:
        """As in `Filesystem`."""
        os.close(fd)

    def is_in_place(self, fd: int, path: Path, bytes_min: int) -> bool:
        """As in `Filesystem`."""
        opened = os.fstat(fd)
        try:
            named = path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(opened, named) and opened.st_size >= bytes_min

    def read_open(self, fd: int, bytes_max: int) -> bytes:
        """As in `Filesystem`."""
        parts, size_bytes = [], 0
        while size_bytes < bytes_max and (part := os.pread(fd, bytes_max - size_bytes, size_bytes)):
            parts.append(part)
            size_bytes += len(part)
        return b"".join(parts)

    def unlink(self, path: Path) -> None:
        """As in `Filesystem`."""
        path.unlink(missing_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        """As in `Filesystem`."""
        source.replace(target)


REAL = RealFilesystem()


def _sync_at(path: Path, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
