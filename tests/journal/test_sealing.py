from harness.spools import read_rows
from kelt.journal.batches import BATCH_BYTES_MAX, BatchCutter
from kelt.journal.reader import read_spool
from kelt.journal.sealing import Sealer
from kelt_proto.v1.frames import Kind, crc_seed, is_intact, iter_frames
from kelt_proto.v1.rows import decode_row, decode_schema


def log(spool, schema, step):
    assert spool.append_row(schema, 0, step, 1.0, 2.0, (step / 2, step))


def numbers(batch):
    return [f.seq for f in iter_frames(memoryview(batch.frames)) if f.kind != Kind.SCHEMA]


def test_batches_hold_every_record_once_in_order_with_its_schema(spool, schema):
    sealer = Sealer(spool=spool, cutter=BatchCutter())
    batches = []
    for step in range(20_000):
        log(spool, schema, step)
        if step % 3001 == 0:
            batches += sealer.batches()
    spool.append_control(Kind.EXIT, b"bye")
    batches += sealer.batches()
    assert [n for batch in batches for n in numbers(batch)] == list(range(1, 20_002))
    for batch in batches:
        assert len(batch.frames) <= BATCH_BYTES_MAX
        assert (batch.first_seq, batch.last_seq) == (numbers(batch)[0], numbers(batch)[-1])
        schemas = {}
        for frame in iter_frames(memoryview(batch.frames)):
            if frame.kind == Kind.SCHEMA:
                found = decode_schema(frame.payload)
                schemas[found.schema_id] = found
            elif frame.kind == Kind.ROW:
                decode_row(frame.payload, schemas)
    assert list(sealer.batches()) == []
    assert sealer.sealed_seq == 20_001


def test_sealed_frames_carry_checksums_on_disk_and_in_the_batch(spool, schema, tmp_path):
    log(spool, schema, 0)
    assert not any(f.is_sealed for f in read_spool(tmp_path))
    (batch,) = Sealer(spool=spool, cutter=BatchCutter()).batches()
    seed = crc_seed(spool.writer_id)
    on_disk = list(read_spool(tmp_path))
    travelling = list(iter_frames(memoryview(batch.frames)))
    for frame in on_disk:
        assert frame.is_sealed
        assert is_intact(frame, seed)
    assert [f.seq for f in travelling] == [f.seq for f in on_disk] == [0, 1]
    assert read_rows(tmp_path) == [(1, 0, {"a": 0.0, "b": 0})]


def test_a_record_larger_than_a_batch_travels_alone(spool, schema):
    log(spool, schema, 0)
    spool.append_control(Kind.CONFIG, bytes(2 * BATCH_BYTES_MAX))
    log(spool, schema, 1)
    batches = list(Sealer(spool=spool, cutter=BatchCutter()).batches())
    assert [numbers(batch) for batch in batches] == [[1], [2], [3]]


def test_a_gap_in_the_numbers_ends_a_batch():
    cutter = BatchCutter()
    assert cutter.add(Kind.EXIT, 1, b"a" * 24) is None
    first = cutter.add(Kind.EXIT, 5, b"b" * 24)
    last = cutter.flush()
    assert (first.first_seq, first.last_seq) == (1, 1)
    assert (last.first_seq, last.last_seq) == (5, 5)
