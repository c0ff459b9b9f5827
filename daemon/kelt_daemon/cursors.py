"""The small files that the daemon keeps in a run folder beside the journal.

`cursors.json` is a hint: what which server has committed, how far the journal reaches, which shows
where damage took its end, and whether the writer is to stop, which one without a stream reads there
(`kelt.daemon_note`). `trimmed.json`, synced before a journal is trimmed, tells what was
deleted after it was committed, and the state in which the run ended. `witness.json` holds the
daemon's own writer id there. `run.json.copy` stands in for a damaged `run.json`. `sync-requested`
releases an offline run. All but the last carry a checksum: damaged, they are as if not there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kelt.artifacts.logged import artifact_folders
from kelt.checked_json import decode_checked, encode_checked
from kelt.journal.segments import segment_numbers
from kelt.run_folder import MANIFEST_NAME, RunFolderError, RunManifest, read_manifest
from kelt_daemon.filesystem import REAL, Filesystem
from kelt_daemon.liveness import Life, Phase

CURSORS_NAME = "cursors.json"
TRIMMED_NAME = "trimmed.json"
WITNESS_NAME = "witness.json"
MANIFEST_COPY_NAME = f"{MANIFEST_NAME}.copy"
RELEASE_NAME = "sync-requested"
_KEPT_NAMES = (CURSORS_NAME, TRIMMED_NAME, WITNESS_NAME, MANIFEST_COPY_NAME)
_FORMAT = 1
_FILE_BYTES_MAX = 1024 * 1024
_SEQ_END = 2**63


@dataclass(kw_only=True)
class Cursors:
    """The contents of `cursors.json` and `trimmed.json`. Writer ids are raw."""

    server_id: str = ""
    committed: dict[bytes, int] = field(default_factory=dict)
    #: Records up to here were synced, whether or not the journal still has them.
    durable: dict[bytes, int] = field(default_factory=dict)
    #: Records up to here were committed and then deleted from the journal.
    trimmed: dict[bytes, int] = field(default_factory=dict)
    ended: Life | None = None
    lost_rows: int = 0
    must_stop: bool = False


def read_cursors(folder: Path, *, filesystem: Filesystem = REAL) -> Cursors:
    """The hint, or an empty one where there is none that can be read."""
    found = Cursors()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        data = _read(folder / CURSORS_NAME, filesystem)
        found = Cursors(
            server_id=str(data["server_id"]),
            committed=_numbers(data["committed"]),
            durable=_numbers(data["durable"]),
            ended=_life(data["ended"]),
            lost_rows=int(data["lost_rows"]),
            must_stop=data.get("must_stop") is True,
        )
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        data = _read(folder / TRIMMED_NAME, filesystem)
        found.trimmed = _numbers(data["trimmed"])
        found.ended = found.ended or _life(data["ended"])
        found.lost_rows = max(found.lost_rows, int(data["lost_rows"]))
    return found


def write_cursors(folder: Path, cursors: Cursors, *, filesystem: Filesystem = REAL) -> None:
    """Replaces the hint, whole. It need not survive a power loss.

    Raises:
        OSError: it cannot be written.
    """
    data = {
        "format": _FORMAT,
        "server_id": cursors.server_id,
        "committed": _texts(cursors.committed),
        "durable": _texts(cursors.durable),
        "ended": _life_data(cursors.ended),
        "lost_rows": cursors.lost_rows,
        "must_stop": cursors.must_stop,
    }
    _replace(folder / CURSORS_NAME, data, filesystem, is_synced=False)


def write_trimmed(folder: Path, cursors: Cursors, *, filesystem: Filesystem = REAL) -> None:
    """Says, for good, what is about to be deleted from the journal.

    A file of its own: a hint that is written meanwhile, unsynced, cannot take it back.

    Raises:
        OSError: it cannot be written.
    """
    data = {
        "format": _FORMAT,
        "trimmed": _texts(cursors.trimmed),
        "ended": _life_data(cursors.ended),
        "lost_rows": cursors.lost_rows,
    }
    _replace(folder / TRIMMED_NAME, data, filesystem, is_synced=True)


def take_witness_id(folder: Path, *, machine_id: str, filesystem: Filesystem = REAL) -> bytes:
    """The daemon's writer id in this folder, made on first use.

    A folder that was copied, from another machine or on this one, gets a new id: two daemons, or
    one with two copies, must not give out the same numbers twice.

    Raises:
        OSError: it cannot be written.
    """
    place = os.fsdecode(folder.resolve())
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        data = _read(folder / WITNESS_NAME, filesystem)
        if data["machine_id"] == machine_id and data["folder"] == place:
            known = bytes.fromhex(data["writer_id"])
            if len(known) == 16:  # noqa: PLR2004 # the length of every writer id
                return known
    made = os.urandom(16)
    data = {"format": _FORMAT, "writer_id": made.hex(), "machine_id": machine_id, "folder": place}
    _replace(folder / WITNESS_NAME, data, filesystem, is_synced=True)
    return made


def load_manifest(folder: Path) -> RunManifest:
    """The manifest, or the copy that was kept of it where it is damaged.

    Raises:
        RunFolderError: neither can be read.
    """
    try:
        return read_manifest(folder)
    except RunFolderError:
        if not (folder / MANIFEST_NAME).exists():
            raise
        with contextlib.suppress(RunFolderError):
            return read_manifest(folder, name=MANIFEST_COPY_NAME)
        raise


def keep_folder(
    folder: Path, manifest: RunManifest | None, *, filesystem: Filesystem = REAL
) -> None:
    """Makes a folder itself durable, before its first record is: its name, and its manifest.

    The trainer, which must not wait for a disk, has synced neither. A copy of the manifest is kept,
    where there is one.

    Raises:
        OSError: it cannot be done.
    """
    if manifest is not None:
        filesystem.sync_file(folder / MANIFEST_NAME)
        _replace(folder / MANIFEST_COPY_NAME, asdict(manifest), filesystem, is_synced=True)
    filesystem.sync_folder(folder.parent)
    with contextlib.suppress(OSError):  # the state folder may be new as well
        filesystem.sync_folder(folder.parent.parent)
        filesystem.sync_folder(folder.parent.parent.parent)


def sweep(folder: Path, *, filesystem: Filesystem = REAL) -> None:
    """Removes what was being written when a daemon was killed."""
    with contextlib.suppress(OSError):
        for name in filesystem.names(folder):
            if name.startswith(tuple(f".{kept}." for kept in _KEPT_NAMES)):
                filesystem.unlink(folder / name)


def is_released(folder: Path) -> bool:
    """Whether somebody asked for this offline run to be sent."""
    return (folder / RELEASE_NAME).exists()


def release(folder: Path) -> None:
    """Remembers that somebody asked.

    Raises:
        OSError: it cannot be written.
    """
    (folder / RELEASE_NAME).touch(mode=0o600)


def spool_signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a folder's segments: changes while it is being copied here.

    And with the artifacts that there are.
    """
    found = [(artifact.name, 0, 0) for artifact in artifact_folders(folder)]
    for stem in ("journal", "spool"):
        for number in segment_numbers(folder, stem):
            path = folder / f"{stem}-{number:06d}.kelt"
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _read(path: Path, filesystem: Filesystem) -> dict[str, Any]:
    return decode_checked(filesystem.read(path, 0, _FILE_BYTES_MAX))


def _replace(path: Path, data: dict[str, Any], filesystem: Filesystem, *, is_synced: bool) -> None:
    # The event loop and retention's thread may write at the same time.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    raw = encode_checked(data)
    filesystem.unlink(partial)
    fd = filesystem.create(partial, len(raw))
    try:
        try:
            filesystem.write_at(fd, raw, 0)
            if is_synced:
                filesystem.sync(fd)
        finally:
            filesystem.close(fd)
        filesystem.rename(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            filesystem.unlink(partial)
        raise
    if is_synced:
        filesystem.sync_folder(path.parent)


def _texts(numbers: dict[bytes, int]) -> dict[str, int]:
    return {writer.hex(): seq for writer, seq in numbers.items()}


def _numbers(data: dict[str, Any]) -> dict[bytes, int]:
    found = {bytes.fromhex(writer): int(seq) for writer, seq in data.items()}
    if not all(0 <= seq < _SEQ_END for seq in found.values()):
        raise ValueError("a record's number that is none")
    return found


def _life_data(life: Life | None) -> dict[str, Any] | None:
    if life is None:
        return None
    return {
        "state": life.phase.value,
        "reason": life.reason,
        "at": life.at,
        "exit_code": life.exit_code,
        "signal": life.signal,
    }


def _life(data: dict[str, Any] | None) -> Life | None:
    if data is None:
        return None
    return Life(
        phase=Phase(data["state"]),
        reason=str(data["reason"]),
        at=float(data["at"]),
        exit_code=int(data["exit_code"]),
        signal=int(data["signal"]),
    )
