"""What an upstream refused for good: kept in the run folder, so that nothing is gone.

`refused-records.jsonl` has one JSON object a line: `writer_id` (hex), `first_seq`, `last_seq`,
`server_id`, `reason`, `at` (Unix seconds) and `frames` (base64: the record with its schemas, as
in a batch). A line with `taken_back` undoes an earlier one: those records are offered again. A line
cut short by a crash is passed over; its record is refused again.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass
from pathlib import Path

DEAD_LETTERS_NAME = "refused-records.jsonl"
#: A larger file is no accident; the folder is parked instead.
FILE_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """Records of a writer that one server refused."""

    writer_id: bytes
    first_seq: int
    last_seq: int
    server_id: str
    reason: str
    at: float
    frames: bytes
    taken_back: bool = False


def read_dead_letters(folder: Path) -> list[DeadLetter]:
    """All that stand, in the order in which they were refused."""
    try:
        lines = (folder / DEAD_LETTERS_NAME).read_bytes().splitlines()
    except OSError:
        return []
    found: dict[tuple[bytes, int, str], DeadLetter] = {}
    for line in lines:
        if (letter := _parsed(line)) is None:
            continue
        key = (letter.writer_id, letter.first_seq, letter.server_id)
        if letter.taken_back:
            found.pop(key, None)
        else:
            found[key] = letter
    return list(found.values())


def append_dead_letter(folder: Path, letter: DeadLetter) -> None:
    """Keeps one, synced: the marker that replaces it is sent only afterwards.

    Raises:
        OSError: it cannot be written, or there are too many.
    """
    data = {
        "writer_id": letter.writer_id.hex(),
        "first_seq": letter.first_seq,
        "last_seq": letter.last_seq,
        "server_id": letter.server_id,
        "reason": letter.reason,
        "at": letter.at,
        "frames": base64.b64encode(letter.frames).decode("ascii"),
        "taken_back": letter.taken_back,
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(folder / DEAD_LETTERS_NAME, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        if os.fstat(fd).st_size > FILE_BYTES_MAX:
            raise OSError(f"{folder / DEAD_LETTERS_NAME} has reached its largest size")
        # On a line of its own, also behind one that a crash cut short.
        file.write(b"\n" + json.dumps(data).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _parsed(line: bytes) -> DeadLetter | None:
    try:
        data = json.loads(line)
        return DeadLetter(
            writer_id=bytes.fromhex(data["writer_id"]),
            first_seq=int(data["first_seq"]),
            last_seq=int(data["last_seq"]),
            server_id=str(data["server_id"]),
            reason=str(data["reason"]),
            at=float(data["at"]),
            frames=base64.b64decode(data["frames"]),
            taken_back=bool(data.get("taken_back", False)),
        )
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
