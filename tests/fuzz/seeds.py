"""Sound inputs to start from, made by the program's own encoders, and plain mutations of them."""

from __future__ import annotations

from random import Random

from fuzz.targets import PASSED

from harness.crash_filesystem import CrashFilesystem
from harness.crash_histories import MANIFEST_TEXT, RUN, RUNS, TRAINER, loaded
from kelt.journal.segments import encode_spool_header
from kelt_daemon.cursors import Cursors, write_cursors, write_trimmed
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.records import encode_loss
from kelt_proto.v1 import record_pb2, sidecar_pb2, upstream_pb2
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame
from kelt_proto.v1.rows import ColumnKind, RowHeader, Schema, encode_row


def batch_frames() -> bytes:
    seed = crc_seed(TRAINER)
    plain = Schema(1, ("loss", "step"), (ColumnKind.FLOAT, ColumnKind.INT))
    texts = Schema(2, ("note",), (ColumnKind.TEXT,))
    parts = [
        encode_frame(seed, Kind.SCHEMA, 0, plain.encode()),
        encode_frame(seed, Kind.SCHEMA, 0, texts.encode()),
        encode_frame(seed, Kind.RUN_OPENED, 1, record_pb2.RunOpened(
            project="p", run_id="r", branch_id="b", created=record_pb2.Created(),
        ).SerializeToString()),
    ]  # fmt: skip
    for seq in range(2, 40):
        header = RowHeader(1 if seq % 5 else 2, 0, seq, 1.0, 0.5)
        values = (0.5, seq) if seq % 5 else ("a text",)
        row = encode_row(plain if seq % 5 else texts, header, values)
        if seq % 9 not in PASSED:
            passed = 0 if seq % 9 else len(PASSED)
            parts.append(encode_frame(seed, Kind.ROW, seq, row, passed))
    parts.append(encode_frame(seed, Kind.REWIND, 40, record_pb2.Rewind(
        branch_id="c", point=record_pb2.BranchPoint(branch_id="b", step=7),
    ).SerializeToString()))  # fmt: skip
    parts.append(encode_loss(TRAINER, 41, 44, "gone"))
    parts.append(encode_frame(seed, Kind.EXIT, 45, record_pb2.Exit(at=1.0).SerializeToString()))
    return b"".join(parts)


def sound() -> dict[str, list[bytes]]:
    """For each target some inputs that are as they should be."""
    content = batch_frames()
    header = bytearray(encode_spool_header(TRAINER, 1))
    header[40:48] = (1).to_bytes(8, "little")
    disk = CrashFilesystem()
    for folder in (RUNS.parent, RUNS, RUN):
        disk.make_folder(folder)
    disk.write_unsynced(RUN / "run.json", MANIFEST_TEXT)
    folder = loaded(disk)
    for first in (1, 50, 100):
        folder.journal.commit([NewEntry(TRAINER, first, first + 44, content)])
    open_segment = disk.read(RUN / "journal-000001.kelt")
    folder.journal.close()
    told = Cursors(
        server_id="s", committed={TRAINER: 5}, durable={TRAINER: 9}, trimmed={TRAINER: 2}
    )
    write_cursors(RUN, told, filesystem=disk)
    write_trimmed(RUN, told, filesystem=disk)
    batch = record_pb2.Batch(writer_id=TRAINER, first_seq=1, last_seq=45, frames=content)
    return {
        "frames": [content],
        "push": [upstream_pb2.PushRequest(batches=[batch]).SerializeToString(), content],
        "spool": [bytes(header) + content + bytes(512)],
        "journal": [open_segment, disk.read(RUN / "journal-000001.kelt")],
        "small_files": [
            disk.read(RUN / n) for n in ("cursors.json", "trimmed.json", "witness.json", "run.json")
        ],
        "open_writer": [sidecar_pb2.AppendRequest(batch=batch).SerializeToString(), content],
    }


def mutated(rng: Random, data: bytes) -> bytes:
    """A flip, a cut, a doubled or removed piece, a word of zeros or ones; a few at once."""
    raw = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        if not raw:
            break
        place, size = rng.randrange(len(raw)), rng.choice((1, 4, 8, 24, 200))
        kind = rng.randrange(6)
        if kind == 0:
            raw[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del raw[place:]
        elif kind == 2:
            del raw[place : place + size]
        elif kind == 3:
            raw[place:place] = raw[place : place + size]
        elif kind == 4:
            raw[place : place + size] = rng.choice((b"\0", b"\xff")) * size
        else:
            raw[place : place + size] = rng.randbytes(size)
    return bytes(raw)
