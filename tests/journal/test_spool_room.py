"""What a spool does where there is no room: each policy, the reserve, the counts."""

import errno
import os
import signal
import threading
import time

import pytest

from harness.spools import WRITER, read_rows
from kelt.journal.errors import NoSpaceError
from kelt.journal.reader import read_spool, read_spool_headers
from kelt.journal.spool import GOODBYE_BYTES, InternedSchema, RoomPolicy, SpoolWriter
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import ColumnKind, RowHeader, Schema

SMALLEST = 2**18


@pytest.fixture
def open_spool(tmp_path):
    opened = []

    def make(quota_bytes=SMALLEST, **policy):
        writer = SpoolWriter(
            folder=tmp_path,
            writer_id=WRITER,
            quota_bytes=quota_bytes,
            policy=RoomPolicy(**policy),
        )
        opened.append(writer)
        return writer

    yield make
    for writer in opened:
        writer.close()


def append(spool, schema, step=1):
    return spool.append_row(schema, 0, step, 1.0, 2.0, (1.0, step))


def fill(spool, schema):
    """Rows until there is no room for another, without an append that is refused."""
    append(spool, schema)  # with its schema
    while spool._current.pos + schema.frame_bytes <= spool._current.row_end:
        assert append(spool, schema)
    return spool.seq


def kinds(folder):
    return [f.kind for f in read_spool(folder) if f.kind not in {Kind.SCHEMA, Kind.ROW}]


def test_by_default_a_row_without_room_waits_for_nothing_and_is_counted(
    open_spool, schema, monkeypatch
):
    spool = open_spool()
    kept = fill(spool, schema)
    waits = []
    monkeypatch.setattr(spool._store, "wait_for_room", waits.append)
    assert not append(spool, schema)
    assert not append(spool, schema)
    assert (spool.seq, spool.dropped_rows, waits) == (kept, 2, [])
    assert read_spool_headers(spool.folder)[-1].lost_rows == 2


def test_rows_with_texts_are_counted_likewise(open_spool, schema):
    spool = open_spool()
    fill(spool, schema)
    texts = InternedSchema(Schema(4, ("t",), (ColumnKind.TEXT,)))
    assert not spool.append_row_with_tail(texts, RowHeader(4, 0, 0, 0.0, 0.0), ["x" * 400])
    assert spool.dropped_rows == 1


def test_the_policy_raise_tells_the_caller_and_counts_nothing_as_lost(open_spool, schema):
    spool = open_spool(raises=True)
    kept = fill(spool, schema)
    with pytest.raises(NoSpaceError, match="quota of 262144 bytes is used up"):
        append(spool, schema)
    texts = InternedSchema(Schema(4, ("t",), (ColumnKind.TEXT,)))
    with pytest.raises(NoSpaceError):
        spool.append_row_with_tail(texts, RowHeader(4, 0, 0, 0.0, 0.0), ["x" * 400])
    assert (spool.seq, spool.dropped_rows) == (kept, 0)


def test_the_policy_block_waits_until_room_appears_and_loses_nothing(open_spool, schema):
    spool = open_spool(quota_bytes=2 * SMALLEST, wait_max_s=600.0)
    fill(spool, schema)
    append(spool, schema)
    kept = fill(spool, schema)
    done = []
    thread = threading.Thread(target=lambda: done.append(append(spool, schema, 7)))
    thread.start()
    while not spool.waits:
        time.sleep(0.001)
    assert not done
    spool.release(kept)
    thread.join(60)
    assert done == [True]
    assert (spool.seq, spool.dropped_rows, spool.waits) == (kept + 1, 0, 1)


def test_the_policy_block_is_bounded_and_then_counts_a_loss(open_spool, schema):
    spool = open_spool(wait_max_s=0.15)
    fill(spool, schema)
    assert not append(spool, schema)
    assert (spool.dropped_rows, spool.waits) == (1, 1)


def test_the_policy_block_waits_without_spinning(open_spool, schema, monkeypatch):
    spool = open_spool(wait_max_s=0.3)
    fill(spool, schema)
    looks, make_room = [], spool._make_room
    monkeypatch.setattr(spool, "_make_room", lambda *a: looks.append(1) or make_room(*a))
    assert not append(spool, schema)
    assert 2 <= len(looks) <= 10


def test_a_row_that_waits_holds_no_lock_that_others_need(open_spool, schema):
    spool = open_spool(wait_max_s=600.0)
    fill(spool, schema)
    thread = threading.Thread(target=append, args=(spool, schema), daemon=True)
    thread.start()
    while not spool.waits:
        time.sleep(0.001)
    assert spool.append_control(Kind.CONFIG, b"c")
    spool.beat()
    spool.close()  # ends the wait too
    thread.join(60)
    assert not thread.is_alive()


class Interrupted(BaseException):
    pass


def test_an_interrupt_ends_the_wait_and_leaves_nothing_behind(open_spool, schema, tmp_path):
    spool = open_spool(wait_max_s=600.0)
    kept = fill(spool, schema)

    def interrupt(_signum, _frame):
        raise Interrupted

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupted):
            append(spool, schema)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert (spool.seq, spool.dropped_rows) == (kept, 0)
    assert spool.append_control(Kind.EXIT, b"bye")
    assert len(read_rows(tmp_path)) == kept


def test_what_a_signal_handler_logs_in_a_full_spool_neither_waits_nor_raises(open_spool, schema):
    spool = open_spool(raises=True)
    inner = InternedSchema(Schema(1, ("c",), (ColumnKind.FLOAT,)))
    fill(spool, schema)
    spool._current.row_end = spool._current.pos + schema.frame_bytes  # room for one

    class Value:
        def __float__(self):
            spool.append_row(inner, 0, 7, 0.0, 0.0, (7.0,) * 1)
            return 1.0

    assert spool.append_row(schema, 0, 1, Value(), 0.0, (1.0, 1))
    assert spool.dropped_rows == 1


def test_losses_told_for_hours_leave_room_for_what_a_run_must_still_say(
    open_spool, schema, tmp_path
):
    spool = open_spool()
    fill(spool, schema)
    told = 0
    for _ in range(5000):
        append(spool, schema)
        told += spool.append_loss(b"l" * 90, rows=1, is_last=False)
    assert 1 <= told <= 10
    assert spool.append_control(Kind.REWIND, b"r" * 200)
    assert spool.append_control(Kind.CONFIG, b"c" * 8000)
    assert spool.append_control(Kind.EXIT, b"e" * 600)
    assert spool.append_loss(b"l" * 150, rows=5000 - told, is_last=True)
    assert kinds(tmp_path) == [
        *[Kind.LOSS] * told, Kind.REWIND, Kind.CONFIG, Kind.EXIT, Kind.LOSS,
    ]  # fmt: skip
    header = read_spool_headers(tmp_path)[-1]
    assert (header.lost_rows, header.told_rows) == (5000, 5000)


def test_a_large_config_is_refused_and_counted_rather_than_taking_the_goodbyes_room(
    open_spool, schema
):
    spool = open_spool()
    fill(spool, schema)
    while spool.append_control(Kind.CONFIG, b"c" * 1000):
        pass
    assert spool.dropped_controls == 1
    assert spool.append_control(Kind.EXIT, b"e" * (GOODBYE_BYTES - 200))


def test_a_disk_that_refused_is_not_asked_again_by_log(open_spool, schema, monkeypatch):
    spool = open_spool(quota_bytes=2**30)
    asked = []

    def full(*_):
        asked.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    fill(spool, schema)
    for _ in range(100):
        assert not append(spool, schema)
    assert asked == [1]
    with pytest.raises(NoSpaceError):
        spool.prepare()
    monkeypatch.undo()
    assert not append(spool, schema)
    spool.prepare()
    assert append(spool, schema)
    assert spool.dropped_rows == 101


def test_where_a_large_segment_has_no_room_a_small_one_is_prepared(open_spool, schema, monkeypatch):
    spool = open_spool(quota_bytes=2**30)
    allocate = os.posix_fallocate

    def nearly_full(fd, offset, size):
        if size > SMALLEST:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(fd, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", nearly_full)
    fill(spool, schema)
    spool.prepare()
    assert spool._spare.bytes_max == SMALLEST


def test_counts_of_threads_that_find_no_room_add_up(open_spool, schema):
    spool = open_spool()
    fill(spool, schema)
    texts = InternedSchema(Schema(4, ("t",), (ColumnKind.TEXT,)))

    def work():
        for _ in range(2000):
            append(spool, schema)
            spool.append_row_with_tail(texts, RowHeader(4, 0, 0, 0.0, 0.0), ["x" * 400])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spool.dropped_rows == 16_000
    assert read_spool_headers(spool.folder)[-1].lost_rows == 16_000


def test_a_spool_closed_by_another_thread_in_mid_append_raises_nothing(open_spool, schema):
    spool = open_spool()

    class Closing:
        def __float__(self):
            spool.close()
            return 1.0

    assert not spool.append_row(schema, 0, 1, Closing(), 0.0, (1.0, 1))
