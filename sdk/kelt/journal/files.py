"""How segments are read from a disk, so that a test can bring its own."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Protocol

#: No segment is as long: what lies beyond was not written by us, and memory is bounded by this.
SEGMENT_BYTES_READ_MAX = 256 * 1024 * 1024


class SegmentFiles(Protocol):
    """What reading needs. Implementations raise OSError as the system does."""

    def names(self, folder: Path) -> list[str]:
        """What lies in a folder, in no order.

        Raises:
            FileNotFoundError: there is no such folder.
        """

    def read(self, path: Path, offset_bytes: int = 0, bytes_max: int = -1) -> bytes:
        """A file's bytes from an offset on, no more than `bytes_max` unless that is negative.

        Raises:
            FileNotFoundError: there is no such file.
        """


class Disk:
    """The disk."""

    def names(self, folder: Path) -> list[str]:
        """As in `SegmentFiles`."""
        return os.listdir(folder)  # noqa: PTH208 # names alone, of a thousand folders in a row

    def read(self, path: Path, offset_bytes: int = 0, bytes_max: int = -1) -> bytes:
        """As in `SegmentFiles`."""
        with open_regular(path) as file:
            if offset_bytes:
                file.seek(offset_bytes)
            return file.read(bytes_max if bytes_max >= 0 else SEGMENT_BYTES_READ_MAX)


DISK = Disk()


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading that somebody may have put there: no link, pipe or device.

    Raises:
        OSError: it is none, or cannot be opened. A pipe would hold its reader for ever.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(fd, "rb")
