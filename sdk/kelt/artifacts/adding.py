"""What is to be added to an artifact: files under a folder, addresses, and their paths in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from kelt.artifacts.manifest import Entry, digest_of_md5
from kelt.artifacts.staging import md5_of
from kelt.errors import StorageError, UsageError

#: Of a digest, in the name of a file.
DIGITS = 20


def checked_path(name: str) -> str:
    """A path in an artifact: with slashes, and leading nowhere else.

    Raises:
        UsageError: it cannot be one.
    """
    parts = [part for part in os.fspath(name).split("/") if part not in {"", "."}]
    path = "/".join(parts)
    try:
        path.encode()
    except UnicodeEncodeError:
        parts = []
    if not parts or ".." in parts or "\0" in path:
        raise UsageError(f"artifact: {name!r} cannot be the path of a file in it.")
    return path


def temporary_name(path: Path, name: str) -> str:
    """The path of a file in an artifact, its name up to the first dot replaced by its digest."""
    folder, slash, last = name.rpartition("/")
    md5, _ = md5_of(path)
    return f"{folder}{slash}{'.'.join([md5[:DIGITS], *last.split('.')[1:]])}"


def files_under(root: Path) -> Iterator[Path]:
    """Regular files, in order; links are followed, and no folder is entered twice.

    Raises:
        StorageError: a folder cannot be read.
    """
    yield from _walk(root, set())


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        children = sorted(folder.iterdir())
    except OSError as error:
        raise StorageError(f"{folder} cannot be read ({error.strerror}).") from error
    if (identity := (status.st_dev, status.st_ino)) in seen:
        return
    seen.add(identity)
    for child in children:
        if child.is_dir():
            yield from _walk(child, seen)
        elif child.is_file():
            yield child


def references(uri: str, name: str | None, *, has_checksum: bool) -> list[Entry]:
    """The entries of an address; of a folder one for each file in it.

    Args:
        uri: the address.
        name: its path in the artifact; without one, the last part of the address.
        has_checksum: whether the files of `file://` are read for their digests.

    Raises:
        UsageError: it is no address, or there is nothing at it.
        StorageError: a file cannot be read.
    """
    parts = urlsplit(uri)
    if not parts.scheme:
        raise UsageError(
            f"artifact.add_reference: {uri!r} is no address; write file:///path, or use add_file."
        )
    path = unquote(parts.path)
    if parts.scheme != "file":
        return [_reference(name or PurePosixPath(path).name or parts.netloc, uri, None)]
    local = Path(path)
    if local.is_dir():
        inner = {file.relative_to(local).as_posix(): file for file in files_under(local)}
        return [
            _reference(
                f"{name or ''}/{at}", f"{uri.rstrip('/')}/{at}", file if has_checksum else None
            )
            for at, file in inner.items()
        ]
    if not local.is_file():
        raise UsageError(f"artifact.add_reference: {local} is no file and no folder.")
    return [_reference(name or local.name, uri, local if has_checksum else None)]


def _reference(path: str, ref: str, file: Path | None) -> Entry:
    if file is None:
        return Entry(path=checked_path(path), digest=ref, size_bytes=None, ref=ref)
    md5, size_bytes = md5_of(file)
    digest = digest_of_md5(md5)
    return Entry(path=checked_path(path), digest=digest, size_bytes=size_bytes, ref=ref)
