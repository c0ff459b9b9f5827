"""The small files that the daemon keeps in a run folder beside the journal.

`cursors.json` is a hint: what which server has committed, what was trimmed from the journal after
that, and the state in which the run ended, for when the journal that told it is trimmed.
`witness.json` holds the daemon's own writer id there. `sync-requested` releases an offline run.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kelt.journal.segments import segment_numbers
from kelt_daemon.liveness import Life, Phase

CURSORS_NAME = "cursors.json"
WITNESS_NAME = "witness.json"
RELEASE_NAME = "sync-requested"
_FORMAT = 1


@dataclass(kw_only=True)
class Cursors:
    """The contents of `cursors.json`. Writer ids are raw."""

    server_id: str = ""
    committed: dict[bytes, int] = field(default_factory=dict)
    #: Records up to here were committed and then deleted from the journal.
    trimmed: dict[bytes, int] = field(default_factory=dict)
    ended: Life | None = None
    lost_rows: int = 0


def read_cursors(folder: Path) -> Cursors:
    """The hint, or an empty one where there is none that can be read."""
    try:
        data = json.loads((folder / CURSORS_NAME).read_text(encoding="utf-8"))
        return Cursors(
            server_id=str(data["server_id"]),
            committed=_numbers(data["committed"]),
            trimmed=_numbers(data["trimmed"]),
            ended=_life(data["ended"]),
            lost_rows=int(data["lost_rows"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Cursors()


def write_cursors(folder: Path, cursors: Cursors, *, is_synced: bool = False) -> None:
    """Replaces the hint, whole.

    Args:
        folder: the run folder.
        cursors: what to write.
        is_synced: whether it must survive a power loss: before a journal is trimmed.

    Raises:
        OSError: it cannot be written.
    """
    ended = cursors.ended
    data = {
        "format": _FORMAT,
        "server_id": cursors.server_id,
        "committed": {writer.hex(): seq for writer, seq in cursors.committed.items()},
        "trimmed": {writer.hex(): seq for writer, seq in cursors.trimmed.items()},
        "ended": None
        if ended is None
        else {
            "state": ended.phase.value,
            "reason": ended.reason,
            "at": ended.at,
            "exit_code": ended.exit_code,
            "signal": ended.signal,
        },
        "lost_rows": cursors.lost_rows,
    }
    _replace(folder / CURSORS_NAME, data, is_synced=is_synced)


def take_witness_id(folder: Path, *, machine_id: str) -> bytes:
    """The daemon's writer id in this folder, made on first use.

    A folder that was copied, from another machine or on this one, gets a new id: two daemons, or
    one with two copies, must not give out the same numbers twice.

    Raises:
        OSError: it cannot be written.
    """
    place = os.fsdecode(folder.resolve())
    path = folder / WITNESS_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["machine_id"] == machine_id and data["folder"] == place:
            known = bytes.fromhex(data["writer_id"])
            if len(known) == 16:  # noqa: PLR2004 # the length of every writer id
                return known
    except (OSError, ValueError, KeyError, TypeError):
        pass
    made = os.urandom(16)
    data = {"format": _FORMAT, "writer_id": made.hex(), "machine_id": machine_id, "folder": place}
    _replace(path, data, is_synced=True)
    return made


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
    """Names, sizes and times of a folder's segments: changes while it is being copied here."""
    found = []
    for stem in ("journal", "spool"):
        for number in segment_numbers(folder, stem):
            path = folder / f"{stem}-{number:06d}.kelt"
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _replace(path: Path, data: dict[str, Any], *, is_synced: bool) -> None:
    # The event loop and retention's thread may write at the same time.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(data, indent=1).encode() + b"\n")
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if is_synced:
        folder_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)


def _numbers(data: dict[str, Any]) -> dict[bytes, int]:
    return {bytes.fromhex(writer): int(seq) for writer, seq in data.items()}


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
