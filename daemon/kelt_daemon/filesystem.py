"""The disk as the journal needs it, so that a test can make it fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class Filesystem(Protocol):
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

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Gives back the room behind."""

    def close(self, fd: int) -> None:
        """Forgets a descriptor."""

    def unlink(self, path: Path) -> None:
        """Removes a file; one that is not there is no error."""


class RealFilesystem:
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
        """As in `Filesystem`."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """As in `Filesystem`."""
        os.ftruncate(fd, size_bytes)

    def close(self, fd: int) -> None:
        """As in `Filesystem`."""
        os.close(fd)

    def unlink(self, path: Path) -> None:
        """As in `Filesystem`."""
        path.unlink(missing_ok=True)
