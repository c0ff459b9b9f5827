"""Small files that are their owner's alone, whatever the umask of the process that writes them."""

from __future__ import annotations

import os
from pathlib import Path


def replace_private(path: Path, data: bytes | bytearray, *, is_synced: bool = False) -> None:
    """Writes a file so that it is there whole or not at all.

    Args:
        path: the file.
        data: all of it.
        is_synced: whether it must survive a power loss.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
        file.write(data)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(path)
    if is_synced:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
