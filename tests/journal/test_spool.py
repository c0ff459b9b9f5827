import errno
import gc
import inspect
import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import threading

import pytest

from harness.spools import WRITER, read_rows
from kelt.journal.batches import cut_spool
from kelt.journal.reader import Damage, read_spool, read_spool_headers
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt.journal.spool_room import SpoolRoom
from kelt.journal.spool_segments import NEXT_STEP
from kelt_proto.v1.frames import Kind, iter_frames
from kelt_proto.v1.rows import (
    INLINE_SCHEMA_ID,
    ColumnKind,
    RowHeader,
    Schema,
    decode_row,
    decode_schema,
)


def log(spool, schema, step):
    assert spool.append_row(schema, 0, step, 1.0, 2.0, (step / 2, step))


def test_rows_are_on_disk_as_soon_as_append_returns(spool, schema, tmp_path):
    log(spool, schema, 0)
    assert read_rows(tmp_path) == [(1, 0, {"a": 0.0, "b": 0})]
    log(spool, schema, 1)
    assert [seq for seq, _, _ in read_rows(tmp_path)] == [1, 2]


def test_control_records_and_rows_share_one_sequence(spool, schema, tmp_path):
    spool.append_control(Kind.RUN_OPENED, b"opened")
    log(spool, schema, 0)
    spool.append_control(Kind.EXIT, b"bye")
    frames = [f for f in read_spool(tmp_path) if f.kind != Kind.SCHEMA]
    assert [(f.seq, f.kind) for f in frames] == [(1, 3), (2, 2), (3, 9)]
    assert bytes(frames[2].payload) == b"bye"


def test_segments_follow_each_other_without_a_gap_and_each_carries_its_schemas(
    spool, schema, tmp_path
):
    for step in range(30_000):
        log(spool, schema, step)
        if spool.needs_preparation:
            spool.prepare()
    assert len(spool.segments) > 2
    assert [seq for seq, _, _ in read_rows(tmp_path)] == list(range(1, 30_001))
    schemas = [f for f in read_spool(tmp_path) if f.kind == Kind.SCHEMA]
    assert len(schemas) == len(spool.segments)
    previous = [h.previous_seq for h in read_spool_headers(tmp_path) if h.first_seq]
    assert previous[0] == 0
    assert previous == sorted(previous)


def test_segments_begin_small_and_double_while_they_fill_fast(spool, schema):
    assert spool.unreleased_bytes == 256 * 1024
    while len(spool.segments) < 4:
        log(spool, schema, 1)
        if spool.needs_preparation:
            spool.prepare()
    sizes = [segment.bytes_max for segment in spool.segments]
    assert sizes == [2**18, 2**19, 2**20, 2**21]


def test_segments_stay_small_where_little_is_logged(spool, schema):
    while not spool.needs_preparation:
        log(spool, schema, 1)
    spool._activated_at_s -= 3600.0
    spool.prepare()
    assert spool._spare.bytes_max == 2**18


def test_release_deletes_only_segments_that_are_wholly_durable(spool, schema, tmp_path):
    while len(spool.segments) < 3:
        log(spool, schema, 1)
    first_end = spool.segments[0].last_seq
    spool.release(first_end - 1)
    assert len(spool.segments) == 3
    spool.release(first_end)
    assert len(spool.segments) == 2
    assert next(seq for seq, _, _ in read_rows(tmp_path)) == first_end + 1


def test_at_quota_rows_are_refused_and_counted_and_control_records_still_fit(tmp_path, schema):
    spool = SpoolWriter(folder=tmp_path, writer_id=WRITER, quota_bytes=2**18)
    while spool.append_row(schema, 0, 1, 1.0, 2.0, (1.0, 1)):
        pass
    spool.append_row(schema, 0, 1, 1.0, 2.0, (1.0, 1))
    assert spool.dropped_rows == 2
    assert spool.append_control(Kind.EXIT, b"bye")
    kept = [f.kind for f in read_spool(tmp_path)]
    assert kept[-1] == Kind.EXIT
    spool.close()


def test_after_release_refused_rows_are_accepted_again(tmp_path, schema):
    spool = SpoolWriter(folder=tmp_path, writer_id=WRITER, quota_bytes=2**19)
    while spool.append_row(schema, 0, 1, 1.0, 2.0, (1.0, 1)):
        pass
    spool.release(spool.seq)
    assert spool.append_row(schema, 0, 1, 1.0, 2.0, (1.0, 1))
    spool.close()


@pytest.mark.covers(phase="spool_rotate", fault="ENOSPC")
def test_a_full_disk_refuses_rows_and_raises_nothing(spool, schema, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    while spool.append_row(schema, 0, 1, 1.0, 2.0, (1.0, 1)):
        pass
    assert spool.dropped_rows == 1
    assert spool.append_control(Kind.EXIT, b"bye")
    monkeypatch.undo()
    spool.prepare()  # the background thread asks the disk again, `log()` does not
    assert spool.append_row(schema, 0, 1, 1.0, 2.0, (1.0, 1))


def test_a_value_that_does_not_fit_leaves_nothing_behind(spool, schema, tmp_path):
    log(spool, schema, 0)
    with pytest.raises(struct.error):
        spool.append_row(schema, 0, 1, 1.0, 2.0, (1.0, 2**80))
    log(spool, schema, 2)
    assert [(seq, step) for seq, step, _ in read_rows(tmp_path)] == [(1, 0), (2, 2)]


def test_rows_with_texts_and_rows_that_carry_their_schema(spool, tmp_path):
    texts = InternedSchema(Schema(4, ("t",), (ColumnKind.TEXT,)))
    spool.append_row_with_tail(texts, RowHeader(4, 0, 0, 0.0, 0.0), ["hello"])
    inline = RowHeader(INLINE_SCHEMA_ID, 0, 1, 0.0, 0.0)
    spool.append_row_with_tail(texts, inline, ["world"])
    assert [values for _, _, values in read_rows(tmp_path)] == [{"t": "hello"}, {"t": "world"}]


def test_a_record_larger_than_a_segment_gets_a_segment_that_holds_it(spool, schema, tmp_path):
    big = bytes(3 * 2**20)
    log(spool, schema, 0)
    assert spool.append_control(Kind.CONFIG, big)
    log(spool, schema, 1)
    frames = [f for f in read_spool(tmp_path) if f.kind != Kind.SCHEMA]
    assert [(f.seq, len(f.payload)) for f in frames] == [(1, 48), (2, len(big)), (3, 48)]


def test_close_gives_back_unused_room_and_keeps_every_record(tmp_path, schema):
    spool = SpoolWriter(folder=tmp_path, writer_id=WRITER, quota_bytes=2**26)
    log(spool, schema, 0)
    spool.prepare()
    spool.close()
    (path,) = tmp_path.glob("spool-*.kelt")
    assert path.stat().st_size < 1024
    assert [seq for seq, _, _ in read_rows(tmp_path)] == [1]


def test_threads_share_a_spool_without_losing_or_doubling_a_row(spool, schema, tmp_path):
    def work(base):
        for i in range(3000):
            log(spool, schema, base + i)

    threads = [threading.Thread(target=work, args=(k * 10_000,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = read_rows(tmp_path)
    assert [seq for seq, _, _ in rows] == list(range(1, 12_001))
    assert sorted(step for _, step, _ in rows) == sorted(
        k * 10_000 + i for k in range(4) for i in range(3000)
    )


class Interrupted(BaseException):
    pass


def test_interrupts_at_any_moment_lose_and_double_nothing(spool, tmp_path):
    """A timer's signal raises wherever the interpreter happens to be, thousands of times."""
    schema = InternedSchema(Schema(0, ("a", "b"), (ColumnKind.FLOAT, ColumnKind.INT)))
    returned, hits, n = [], 0, 0
    moments = random.Random(7)

    def interrupt(_signum, _frame):
        raise Interrupted

    previous = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # an interrupt in a collector's callback is swallowed by Python
    try:
        while n < 6000:
            try:
                n += 1
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 3e-5))
                for _ in range(3):
                    log(spool, schema, n)
                    returned.append(n)
                    n += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                hits += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.enable()
    rows = read_rows(tmp_path)
    assert hits > 100
    assert [seq for seq, _, _ in rows] == list(range(1, len(rows) + 1))
    steps = [step for _, step, _ in rows]
    assert set(returned) <= set(steps)
    assert steps == sorted(set(steps))


def test_an_append_takes_no_lock_that_an_interrupt_could_leave_taken(spool, tmp_path):
    """Events and conditions are Python code: interrupted inside, they stay locked for ever."""
    schema = InternedSchema(Schema(0, ("a", "b"), (ColumnKind.FLOAT, ColumnKind.INT)))
    entered = set()
    sys.setprofile(lambda frame, _event, _arg: entered.add(frame.f_code.co_filename))
    try:
        while len(spool.segments) < 3:
            log(spool, schema, 0)
    finally:
        sys.setprofile(None)
    assert threading.__file__ not in entered


def test_logging_from_a_signal_handler_in_the_middle_of_an_append_keeps_both(spool, tmp_path):
    schema = InternedSchema(Schema(0, ("a", "b"), (ColumnKind.FLOAT, ColumnKind.INT)))
    inner = InternedSchema(Schema(1, ("c",), (ColumnKind.FLOAT,)))
    fired = []

    class Value:
        def __float__(self):
            fired.append(spool.append_row(inner, 0, 7, 0.0, 0.0, (7.0,)))
            return 1.0

    class Index:
        def __index__(self):
            return 3

    assert spool.append_row(schema, 0, 1, Value(), 0.0, (1.0, Index()))
    assert fired == [True]
    assert [(seq, step) for seq, step, _ in read_rows(tmp_path)] == [(1, 1), (2, 7)]


KILLED = """
    import os, sys
    from pathlib import Path
    from kelt.journal.spool import InternedSchema, SpoolWriter
    from kelt_proto.v1.rows import ColumnKind, Schema

    spool = SpoolWriter(folder=Path(sys.argv[1]), writer_id=bytes(16), quota_bytes=2**30)
    schema = InternedSchema(Schema(0, ("a",), (ColumnKind.INT,)))
    step = 0
    out = sys.stdout
    while True:
        for _ in range(50):
            spool.append_row(schema, 0, step, 0.0, 0.0, (step,))
            step += 1
        out.write(f"{step}\\n"); out.flush()
"""


@pytest.mark.parametrize("lines", [1, 3, 100, 700])
@pytest.mark.covers(phase="spool_write", fault="KILL trainer")
def test_sigkill_loses_no_row_whose_append_returned(tmp_path, lines):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told = [process.stdout.readline() for _ in range(lines)][-1]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines(keepends=True)
    told = int(next((x for x in reversed(rest) if x.endswith("\n")), told))
    rows = read_rows(tmp_path)
    assert len(rows) >= told
    assert [step for _, step, _ in rows] == list(range(len(rows)))
    assert not [item for item in read_spool(tmp_path) if isinstance(item, Damage)]


def test_a_forked_child_that_abandons_the_spool_leaves_it_alone(spool, schema, tmp_path):
    log(spool, schema, 0)
    pid = os.fork()
    if pid == 0:
        spool.abandon()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    log(spool, schema, 1)
    assert [seq for seq, _, _ in read_rows(tmp_path)] == [1, 2]


def test_the_beat_and_the_highest_step_are_read_from_outside(spool, schema, tmp_path):
    log(spool, schema, 5)
    log(spool, schema, 3)
    spool.beat()
    header = read_spool_headers(tmp_path)[-1]
    assert (header.beat, header.step_max) == (1, 5)
    spool.reset_step_max(2)
    assert read_spool_headers(tmp_path)[-1].step_max == 2


def test_batches_cut_from_a_closed_spool_can_be_read_alone(spool, schema, tmp_path):
    for step in range(20_000):
        log(spool, schema, step)
    batches = list(cut_spool(tmp_path, after_seq=100))
    assert len(batches) > 3
    assert batches[0].first_seq == 101
    steps = []
    for batch in batches:
        schemas = {}
        for frame in iter_frames(memoryview(batch.frames)):
            if frame.kind == Kind.SCHEMA:
                schemas[0] = decode_schema(frame.payload)
            else:
                steps.append(decode_row(frame.payload, schemas).header.step)
    assert steps == list(range(100, 20_000))


def lines_of(function, first="", last=""):
    """The lines of a function, from one that has a text to another, as (code, number)."""
    source, start = inspect.getsourcelines(function)
    begin = next(i for i, line in enumerate(source) if first in line)
    end = next(i for i in range(len(source) - 1, 0, -1) if last in source[i])
    return {(function.__code__, start + i) for i in range(begin, end + 1)}


@pytest.mark.parametrize("has_tail", [False, True])
def test_an_interrupt_before_any_line_of_an_append_repeats_no_step(
    spool, schema, tmp_path, has_tail
):
    """As Python 3.10 takes them, between any two; later versions look at fewer places."""
    text = InternedSchema(Schema(7, ("t",), (ColumnKind.TEXT,)))
    places = lines_of(SpoolWriter.append_row, "seq, highest =", "return True")
    if has_tail:
        places = lines_of(SpoolRoom._put) | lines_of(SpoolRoom._count_record)
    left = 0

    def trace(frame, event, _argument):
        nonlocal left
        if event == "line" and (frame.f_code, frame.f_lineno) in places:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    def append():
        if has_tail:
            spool.append_row_with_tail(text, RowHeader(7, 0, NEXT_STEP, 1.0, 2.0), ("x",))
        else:
            spool.append_row(schema, 0, NEXT_STEP, 1.0, 2.0, (0.5, 1))

    append()
    interrupted = 0
    for nth in range(1, 30):
        left, before = nth, sys.gettrace()
        sys.settrace(trace)
        try:
            append()
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(before)
        append()
    assert interrupted >= 8
    rows = [
        (frame.seq, decode_row(frame.payload, {7: text.schema, 0: schema.schema}).header.step)
        for frame in read_spool(tmp_path)
        if frame.kind == Kind.ROW
    ]
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    assert [step for _, step in rows] == list(range(len(rows)))
