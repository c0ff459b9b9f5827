"""What is fuzzed: each target takes bytes, reads them as the program would, and may raise nothing.

A target asserts, besides, what must hold of whatever it read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError

from harness.crash_filesystem import CrashFilesystem
from harness.crash_histories import MANIFEST_TEXT, RUN, RUNS, TRAINER, loaded
from kelt.journal.batches import cut_spool
from kelt.journal.reader import Damage, read_journal_bytes
from kelt.run_folder import RunFolderError
from kelt_daemon.cursors import load_manifest
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.records import find_assertions, holds_control, notice
from kelt_daemon.spool_import import SpoolImport
from kelt_proto.v1 import record_pb2, sidecar_pb2, upstream_pb2
from kelt_server.ingest.apply import apply_batch
from kelt_server.ingest.blocks import RowBlock
from kelt_server.ingest.columns import decode_batch
from kelt_server.ingest.writer_state import WriterState

#: Of the numbers of rows in a sound batch those that hold nothing, modulo 9.
PASSED = (7, 8)
SPOOL = RUN / "spool-000001.kelt"


def disk_with(name: str, data: bytes) -> CrashFilesystem:
    disk = CrashFilesystem()
    for folder in (RUNS.parent, RUNS, RUN):
        disk.make_folder(folder)
    for path, content in ((RUN / "run.json", MANIFEST_TEXT), (RUN / name, data)):
        fd = disk.create(path, len(content))
        disk.write_at(fd, content, 0)
        disk.close(fd)
    return disk


def frames(data: bytes) -> None:
    """A batch's frames, as the daemon looks into them and as the server decodes them."""
    holds_control(data)
    list(find_assertions(data, TRAINER))
    notice(data, TRAINER)
    covered: list[int] = []
    for piece in decode_batch(data, writer_id=TRAINER, first_seq=1, last_seq=50):
        if isinstance(piece, RowBlock):
            covered += [int(seq) for seq in piece.seqs]
        elif hasattr(piece, "first_seq"):
            covered += range(piece.first_seq, piece.last_seq + 1)
        else:
            covered.append(piece.seq)
    assert len(covered) == len(set(covered)), "a number is in two pieces"
    passed = {seq for seq in range(2, 40) if seq % 9 in PASSED}
    assert passed.issuperset({*range(1, 51)} - {*covered}), "a number is in no piece"


def push(data: bytes) -> None:
    """A hostile Push, as far as the catalog and the metrics would be told of it."""
    try:
        request = upstream_pb2.PushRequest.FromString(data)
    except DecodeError:
        request = upstream_pb2.PushRequest()
        request.batches.add(writer_id=TRAINER, first_seq=1, last_seq=20, frames=data)
    for batch in request.batches:
        if 1 <= batch.first_seq <= batch.last_seq <= batch.first_seq + 10_000:
            effect = apply_batch(batch, WriterState(), default_entity="e", received_at=1.0)
            assert effect.state.committed_through == batch.last_seq


def spool(data: bytes) -> None:
    """A spool segment, imported: numbers rise without holes."""
    folder = Path(tempfile.mkdtemp(prefix="kelt-fuzz-"))
    try:
        (folder / SPOOL.name).write_bytes(data)
        list(cut_spool(folder))
        through = 0
        importing = SpoolImport(folder=folder, writer_id=TRAINER, after_seq=0)
        while pieces := importing.take(bytes_max=1 << 20):
            for piece in pieces:
                if hasattr(piece, "first_seq"):
                    assert piece.first_seq == through + 1 <= piece.last_seq
                    through = piece.last_seq
    finally:
        shutil.rmtree(folder)


def journal(data: bytes) -> None:
    """A journal segment, recovered; appending goes on."""
    for item in read_journal_bytes(data, RUN / "x", is_whole=True):
        assert 0 <= item.offset_bytes < item.end_bytes <= len(data)
    disk = disk_with("journal-000001.kelt", data)
    folder = loaded(disk)
    first = folder.cursor(TRAINER).durable + 1
    if first < 1 << 63:
        assert folder.journal.commit([NewEntry(TRAINER, first, first, b"on")]) == 1
        items = read_journal_bytes(disk.read(RUN / "journal-000002.kelt"), RUN, is_whole=True)
        assert [i.payload for i in items if not isinstance(i, Damage)] == [b"on"]


def small_files(data: bytes) -> None:
    """The files beside the journal, and the manifest."""
    for name in ("cursors.json", "trimmed.json", "witness.json"):
        folder = loaded(disk_with(name, data))
        assert all(0 <= c.durable < 1 << 63 for c in folder.writers.values())
    place = Path(tempfile.mkdtemp(prefix="kelt-fuzz-"))
    try:
        (place / "run.json").write_bytes(data)
        load_manifest(place)
    except RunFolderError:
        pass
    finally:
        shutil.rmtree(place)


def open_writer(data: bytes) -> None:
    """What the daemon's streams take: messages of any content, judged before they are believed."""
    try:
        request = sidecar_pb2.AppendRequest.FromString(data)
    except DecodeError:
        request = sidecar_pb2.AppendRequest(
            batch=record_pb2.Batch(writer_id=TRAINER, first_seq=1, last_seq=3, frames=data)
        )
    disk = disk_with("other", b"")
    folder = loaded(disk)
    batch = request.batch
    if batch.writer_id == TRAINER and 0 < batch.first_seq <= batch.last_seq < 1 << 63:
        folder.offer(TRAINER, batch.first_seq, batch.last_seq, batch.frames)
        for entry in folder.take_pending():
            folder.journal.commit([entry])
        assert loaded(disk).cursor(TRAINER).durable in {0, batch.last_seq}


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (frames, push, spool, journal, small_files, open_writer)
}
