"""Files and folders that are in their place whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kelt.errors import KeltError

#: Of what is not whole yet.
PREFIX = ".kelt-export-"
_NAME_CHARS_MAX = 100


class ExportError(KeltError):
    """Something that cannot be exported; the message names it, the reason and the remedy."""


@contextlib.contextmanager
def placed(target: Path, *, replaces: bool) -> Iterator[Path]:
    """A name in a new folder beside the target; what is there in the end is moved to the target.

    Args:
        target: a file or a folder.
        replaces: whether it may be there already.

    Raises:
        ExportError: it is there already, or cannot be written.
    """
    _check_free(target, replaces=replaces)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=PREFIX, dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        made = staged / target.name
        yield made
        _sync(made)
        _check_free(target, replaces=replaces)  # somebody else may have been faster
        if target.is_dir():  # a folder cannot be replaced in one step
            target.rename(staged / f"{target.name}.replaced")
        made.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def file_name(text: str) -> str:
    """A run's or a project's name as a part of a file's."""
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in text)
    return kept[:_NAME_CHARS_MAX]


def _check_free(target: Path, *, replaces: bool) -> None:
    if not replaces and os.path.lexists(target):
        raise ExportError(
            f"{target} is there already; --force replaces it, --skip-existing passes it over."
        )


def _unwritable(target: Path, error: OSError) -> ExportError:
    reason = error.strerror or error
    return ExportError(
        f"{target} cannot be written ({reason}); free some disk, or choose another --output."
    )


def _sync(made: Path) -> None:
    """A name must not survive a power loss that its contents do not."""
    for path in (made, *made.rglob("*")) if made.is_dir() else (made,):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
