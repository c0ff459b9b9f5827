"""The files of a run that another tracker wrote, as records of a writer of their own.

They have no place among the run's own records, whose numbers follow from its rows: files come and
change as they like. So each set of new versions has a writer, whose id is a digest of names and
contents, and of the versions before: the same set is recognised, from wherever it comes. Its
records are pieces of at most 1 MiB, and lie in journal segments as a daemon has them.

A file that changes while it is read is not sent: its last piece is written only once the digest is
found to be the one that the pieces name.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kelt.journal.entries import encode_entry
from kelt.journal.segments import JournalHeader, encode_journal_header, segment_path
from kelt.private_files import replace_private
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame
from kelt_proto.v1.record_pb2 import FilePiece

#: Of one run. What goes beyond is counted, and told with the run.
FILES_MAX = 10_000
FILE_BYTES_MAX = 2 * 2**30
PIECE_BYTES = 2**20
_SEGMENT_BYTES = 16 * 2**20
_NAME_BYTES_MAX = 4096
_DEPTH_MAX = 32


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as it lay there. `name` is relative to the run's files, with slashes."""

    name: str
    path: Path
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files of a run, by name, and how many are not carried, by reason."""

    files: tuple[FoundFile, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def signature(self) -> str:
        """Changes when a file does."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name!r} {file.size_bytes} {file.mtime_ns}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Version:
    file: FoundFile
    digest: bytes


def find_files(root: Path, *, follows_links: bool = True) -> FoundFiles:
    """The files below a folder; none where it is not there.

    Args:
        root: the folder.
        follows_links: whether a link to a file is one; never is one to a folder.
    """
    left_out: Counter[str] = Counter()
    found: list[FoundFile] = []
    for path, status in _walk(root, _DEPTH_MAX):
        name = path.relative_to(root).as_posix()
        if not follows_links and path.is_symlink():
            left_out["link"] += 1
        elif len(found) == FILES_MAX or len(os.fsencode(name)) > _NAME_BYTES_MAX:
            left_out["file beyond the bound"] += 1
        elif status.st_size > FILE_BYTES_MAX or not _is_text(name):
            left_out["file too large or with a name that is no text"] += 1
        else:
            found.append(FoundFile(name, path, status.st_size, status.st_mtime_ns))
    return FoundFiles(tuple(found), left_out)


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    """Regular files, and links to such, as W&B's `run.save` makes them."""
    try:
        children = sorted(folder.iterdir()) if depth else []
    except OSError:
        return
    for child in children:
        try:
            status = child.stat()
        except OSError:
            continue  # a link to nothing
        if stat.S_ISREG(status.st_mode):
            yield child, status
        elif child.is_dir() and not child.is_symlink():
            yield from _walk(child, depth - 1)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def write_files(
    folder: Path,
    writer_id: bytes,
    found: FoundFiles,
    known: Mapping[str, str],
    *,
    first_number: int,
) -> dict[str, str]:
    """Writes the versions that are new as journal segments.

    Args:
        folder: for the segments.
        writer_id: of the run's rows.
        found: the files.
        known: the versions that were written before, by name.
        first_number: of the first segment.

    Returns:
        The versions that are written now or were before, by name.

    Raises:
        OSError: a segment cannot be written.
    """
    versions = [version for file in found.files if (version := _version(file)) is not None]
    new = [v for v in versions if known.get(v.file.name) != v.digest.hex()]
    if not new:
        return dict(known)
    digest = hashlib.sha256(b"kelt wandb files\n" + writer_id)
    for version in new:
        before = known.get(version.file.name, "")
        digest.update(f"{version.file.name!r} {before} {version.digest.hex()}\n".encode())
    writer = _PieceWriter(folder, digest.digest(), first_number)
    written = dict(known)
    for version in new:
        if writer.add(writer_id, version):
            written[version.file.name] = version.digest.hex()
    writer.close()
    return written


def _version(file: FoundFile) -> _Version | None:
    digest = hashlib.sha256()
    try:
        with file.path.open("rb") as source:
            for piece in _pieces(source, file.size_bytes):
                digest.update(piece)
    except OSError:
        return None
    return _Version(file, digest.digest())


def _pieces(source: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """As much as a file had, in pieces; an empty one is a piece, too."""
    left = size_bytes
    while True:
        piece = source.read(min(PIECE_BYTES, left))
        left -= len(piece)
        yield piece
        if not piece or not left:
            return


class _PieceWriter:
    """Writes pieces as entries of journal segments. Mutable state: the segment at hand."""

    def __init__(self, folder: Path, digest: bytes, first_number: int) -> None:
        self._folder = folder
        self._writer_id, self._journal_id = digest[:16], digest[16:]
        self._seed = crc_seed(self._writer_id)
        self._seq = 0
        self._number = first_number
        self._buffer = bytearray()

    def add(self, writer_id: bytes, version: _Version) -> bool:
        """Takes a file; False where it was not the same any more, or cannot be read."""
        file, offset_bytes = version.file, 0
        digest = hashlib.sha256()
        waiting: FilePiece | None = None
        try:
            with file.path.open("rb") as source:
                for content in _pieces(source, file.size_bytes):
                    if waiting is not None:
                        self._put(waiting)
                    digest.update(content)
                    waiting = FilePiece(
                        writer_id=writer_id,
                        name=file.name,
                        version=version.digest,
                        size_bytes=file.size_bytes,
                        offset_bytes=offset_bytes,
                        content=content,
                        at=file.mtime_ns / 1e9,
                    )
                    offset_bytes += len(content)
        except OSError:
            return False
        if waiting is None or digest.digest() != version.digest:
            return False
        self._put(waiting)
        return True

    def _put(self, piece: FilePiece) -> None:
        self._seq += 1
        payload = piece.SerializeToString(deterministic=True)
        frames = encode_frame(self._seed, Kind.FILE_PIECE, self._seq, payload)
        header = JournalHeader(self._journal_id, self._number, 0, 0)
        if not self._buffer:
            self._buffer += encode_journal_header(header)
        entry, _ = encode_entry(header.crc_seed, self._writer_id, self._seq, self._seq, frames)
        self._buffer += entry
        if len(self._buffer) > _SEGMENT_BYTES:
            self.close()

    def close(self) -> None:
        """Writes what is left of a segment."""
        if self._buffer:
            path = segment_path(self._folder, "journal", self._number)
            replace_private(path, bytes(self._buffer))
            self._buffer.clear()
            self._number += 1
