"""Pieces of a run's files, until each is whole and can go: pure.

Pieces of a version of a file come in order and lie in a file on the disk (`file_spool`) until they
are all there. What is whole is known by a key of its name and version, and stays in the run's book
until W&B has it; meanwhile the newest record of its writer does not count as committed, so that
the run goes on being sent. A file that cannot be made whole, or that W&B does not take, is told
with the losses.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kelt_daemon.upstream.wandb.carried_run import CarriedFile, CarriedRun
from kelt_proto.v1.record_pb2 import FilePiece

#: How often a file may be refused for what it is.
TRIES_MAX = 5
#: Files of one request for addresses.
_BATCH_MAX = 20
#: What is made of a run when it ends, unless such a file was recorded.
OUTPUT, REQUIREMENTS = "output.log", "requirements.txt"
MADE_NAMES = frozenset(
    ("config.yaml", "wandb-summary.json", "wandb-metadata.json", REQUIREMENTS, OUTPUT)
)


@dataclass(frozen=True, slots=True)
class Piece:
    """What is to be put into the file of that key."""

    key: str
    offset_bytes: int
    content: bytes


def key_of(name: str, version: bytes) -> str:
    """Of a version of a file, which is a part of a file's name here."""
    return hashlib.sha256(f"{name}\n".encode() + version).hexdigest()[:32]


def add_piece(run: CarriedRun, said: FilePiece, *, writer_id: bytes) -> Piece | None:
    """Takes a piece in; None where it is there already, or of no use."""
    key = key_of(said.name, said.version)
    if said.offset_bytes == 0:
        run.files.pop(key, None)  # should it wait, it is the newest version once more
    file = run.files.get(key)
    if file is not None and (file.is_whole or said.offset_bytes < file.received_bytes):
        return None
    end_bytes = said.offset_bytes + len(said.content)
    is_next = said.offset_bytes == (file.received_bytes if file is not None else 0)
    if not is_next or end_bytes > said.size_bytes:
        if end_bytes >= said.size_bytes:  # once, with the last of them
            lose_file(run, key, said.name, "pieces of it are missing")
        return None
    run.files[key] = CarriedFile(
        name=said.name,
        version=said.version.hex(),
        size_bytes=said.size_bytes,
        received_bytes=end_bytes,
        writer_id=writer_id.hex(),
    )
    if said.name in MADE_NAMES and said.name not in run.recorded_names:
        run.recorded_names.append(said.name)
    return Piece(key, said.offset_bytes, said.content)


def due_files(run: CarriedRun) -> dict[str, CarriedFile]:
    """Those that can go in one request, of each name one."""
    found: dict[str, CarriedFile] = {}
    names: set[str] = set()
    for key, file in run.files.items():
        if file.is_whole and file.name not in names and len(found) < _BATCH_MAX:
            found[key] = file
            names.add(file.name)
    return found


def put_off(run: CarriedRun, key: str) -> None:
    """Files of other names go first; the versions of one keep their order."""
    name = run.files[key].name
    for other in [other for other, file in run.files.items() if file.name == name]:
        run.files[other] = run.files.pop(other)


def lose_file(run: CarriedRun, key: str, name: str, reason: str) -> None:
    """W&B will not get it; of what is made of the run nothing is lost with that."""
    file = run.files.pop(key, None)
    if file is None or not file.is_made:
        run.lose(0, f"the file {name!r}: {reason}", files=1)
