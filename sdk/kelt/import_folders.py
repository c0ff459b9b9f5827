"""Folders in the state folder's `imports`: run folders made of what other trackers wrote.

They are made aside, complete, and moved into their place under a lock; a new one that takes more
than a moment is moved there with its first segment, and grows there, so that it is sent meanwhile.
Where one is there already and its source has grown, its segments are replaced in their order: each
holds what it held, and more. So is one whose making was killed, as it says nothing of its source.
None is among the runs: whoever asks the daemon to send one has the daemon put a link there.
The daemon takes such a folder for a copy from another machine, which it is: it reads it at once and
writes nothing into it. A file `whole` tells it that nobody copies into it still.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kelt.artifacts.logged import artifact_folders
from kelt.checked_json import decode_checked
from kelt.journal.entries import encode_entry
from kelt.journal.segments import (
    JournalHeader,
    encode_journal_header,
    segment_numbers,
    segment_path,
)
from kelt.private_files import replace_private
from kelt.run_folder import WHOLE_NAME, RunManifest
from kelt.state_dir import StateDir
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame

IMPORTS_NAME = "imports"
#: The journal segment that is written anew each time; those behind it are only added to.
REPLACED_NUMBER = 1
_STAGED_PREFIX = ".staged-"
_FILE_NAME_CHARS_MAX = 64


def file_name(run_id: str) -> str:
    """A run id as a part of a folder's name: for people; a digest tells them apart."""
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in run_id)
    return kept[:_FILE_NAME_CHARS_MAX]


class ImportedRun(Protocol):
    """What a manifest says of a run that another tracker wrote."""

    @property
    def writer_id(self) -> bytes:
        """16 bytes, which follow from the source."""

    @property
    def entity(self) -> str:
        """Empty: the server's default."""

    @property
    def project(self) -> str:
        """Whose run it is."""

    @property
    def run_id(self) -> str:
        """Its name there."""

    @property
    def branch_id(self) -> str:
        """Of its own rows."""

    @property
    def started_at(self) -> float:
        """Unix seconds."""

    @property
    def host(self) -> str:
        """Where it was written."""


def manifest_of(run: ImportedRun, *, machine_id: str, upstream: str) -> RunManifest:
    """A run's manifest. The machine is none, so that nobody judges whether its process lives."""
    return RunManifest(
        writer_id=run.writer_id.hex(),
        entity=run.entity,
        project=run.project,
        run_id=run.run_id,
        branch_id=run.branch_id,
        mode="offline",
        upstream=upstream,
        started_at=run.started_at,
        hostname=run.host,
        machine_id=machine_id,
        boot_id="",
        pid=0,
        pid_start_ticks=0,
    )


def source_facts(folder: Path, source_name: str) -> dict[str, Any]:
    """What a folder says of its source; nothing where it is not whole."""
    try:
        return decode_checked((folder / source_name).read_bytes())
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def staging(state_dir: StateDir) -> Iterator[Path]:
    """A new folder for one at a time; what others left who were killed is swept.

    Raises:
        OSError: it cannot be made.
    """
    parent = state_dir.root / IMPORTS_NAME
    parent.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(parent / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        for left in parent.glob(f"{_STAGED_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(prefix=_STAGED_PREFIX, dir=parent))
        (staged / WHOLE_NAME).touch()
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    finally:
        os.close(fd)


def replace_contents(staged: Path, folder: Path, source_name: str) -> None:
    """Puts what was made aside in the place of what a folder holds.

    Args:
        staged: segments, perhaps journals and artifacts, and the file that tells their source.
        folder: a whole one of the same run.
        source_name: of that file.
    """
    (folder / WHOLE_NAME).unlink(missing_ok=True)
    for artifact in artifact_folders(staged):
        place = folder / artifact.relative_to(staged)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        if not place.exists():
            artifact.rename(place)
    for number in segment_numbers(staged, "spool"):
        name = segment_path(staged, "spool", number).name
        (staged / name).replace(folder / name)
    journal = segment_path(staged, "journal", REPLACED_NUMBER)
    if not journal.exists():
        (folder / journal.name).unlink(missing_ok=True)
    for number in segment_numbers(staged, "journal"):
        name = segment_path(staged, "journal", number).name
        (staged / name).replace(folder / name)
    for name in (source_name, WHOLE_NAME):
        (staged / name).replace(folder / name)


@dataclass(frozen=True, kw_only=True)
class OtherWriter:
    """What somebody else than the rows' writer has to say of a run, from its number 1 on."""

    writer_id: bytes
    records: Sequence[tuple[Kind, bytes]]


def write_journal(folder: Path, writers: Sequence[OtherWriter], journal_id: bytes) -> None:
    """Writes a folder's journal: batches of some writers.

    Args:
        folder: where it goes.
        writers: who has something to say.
        journal_id: 16 bytes that are others when the journal is.
    """
    header = JournalHeader(journal_id, REPLACED_NUMBER, 0, 0)
    journal = bytearray(encode_journal_header(header))
    for writer in writers:
        seed = crc_seed(writer.writer_id)
        for seq, (kind, payload) in enumerate(writer.records, start=1):
            frame = encode_frame(seed, kind, seq, payload)
            journal += encode_entry(header.crc_seed, writer.writer_id, seq, seq, frame)[0]
    replace_private(segment_path(folder, "journal", REPLACED_NUMBER), bytes(journal))
