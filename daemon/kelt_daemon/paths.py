"""Paths that callers name or that lie on the disk: which are followed, and how they are shown."""

from __future__ import annotations

import os
from pathlib import Path

from kelt.state_dir import require_own_links
from kelt_daemon.errors import FolderProblemError

_SHOWN_CHARS_MAX = 300
#: The kernel's limit is 4096 with the final zero; names of files follow.
_PATH_BYTES_MAX = 4000


def own_folder(path: Path) -> Path:
    """Where a path leads, if nobody else can turn it elsewhere. Blocking.

    Raises:
        FolderProblemError: it is no path, or a link on it is in the hands of somebody else.
    """
    try:
        if not path.is_absolute():
            raise FolderProblemError(f"{_cut(path)} is not absolute: name the whole path.")
        if len(os.fsencode(path)) > _PATH_BYTES_MAX:
            raise FolderProblemError(f"{_cut(path)} is longer than a path can be: name a folder.")
        require_own_links(path)
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte; links in a circle
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FolderProblemError(
            f"{_cut(path)} cannot be followed ({reason}); name a folder of yours."
        ) from error


def plain(text: str | Path) -> str:
    """A text that a message can carry: names on a disk may be no text at all."""
    return os.fsdecode(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(path: Path) -> str:
    text = plain(path).replace("\0", "\\0")
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}…"
