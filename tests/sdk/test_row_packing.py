from __future__ import annotations

import gc
import itertools
import math
import random
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelt.errors import UsageError
from kelt.journal.reader import read_spool
from kelt.journal.spool import SpoolWriter
from kelt.row_packing import RowPacker
from kelt.row_plans import RowEvents, StepCount
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import (
    FLAG_PARTIAL,
    FLAG_RELATIVE_STEP,
    FLAG_STEP_WENT_DOWN,
    INLINE_SCHEMA_ID,
    decode_row,
    decode_schema,
)

SCALARS = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=20),
    st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=3)), max_size=4),
)  # fmt: skip
KEYS = st.sampled_from([f"m{i}" for i in range(6)])
ROWS = st.lists(st.dictionaries(KEYS, SCALARS, max_size=6), max_size=30)


def same(left, right) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return type(left) is type(right) and left == right


def spool_rows(folder: Path):
    schemas, rows = {}, []
    for frame in read_spool(folder):
        payload = bytes(frame.payload)
        if frame.kind == Kind.SCHEMA:
            schema = decode_schema(payload)
            schemas[schema.schema_id] = schema
        else:
            rows.append(decode_row(payload, schemas))
    return rows


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_whatever_is_logged_is_read_back_exactly(rows) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = SpoolWriter(folder=folder, writer_id=bytes(16), quota_bytes=1 << 28)
        events = RowEvents(on_row=lambda *_: None, before_step_goes_down=lambda *_: None)
        packer = RowPacker(sink=spool, steps=StepCount(), started=time.monotonic(), events=events)
        for row in rows:
            packer.log(row, None, True)
            packer.log(row, None, True)  # once by the general path, once by the plan
        spool.close()
        found = spool_rows(folder)
    assert [row.header.step for row in found] == list(range(2 * len(rows)))
    for row, logged in zip(found, itertools.chain(*zip(rows, rows, strict=True)), strict=True):
        assert list(row.values) == list(logged)
        assert all(same(row.values[key], logged[key]) for key in logged)


def test_numpy_numbers_take_the_short_path_and_read_back_as_python(packing) -> None:
    for i in range(3):
        packing.log({"a": np.float32(i), "b": np.int64(i), "c": np.array(i), "d": np.bool_(i)})
    rows = packing.rows()
    assert [r.values for r in rows] == [
        {"a": float(i), "b": i, "c": i, "d": bool(i)} for i in range(3)
    ]


def test_an_integer_that_outgrows_its_column_is_kept(packing) -> None:
    for value in (1, 2, 2**70, 3):
        packing.log({"n": value})
    rows = packing.rows()
    assert [r.values["n"] for r in rows] == [1, 2, 2**70, 3]
    assert [r.header.step for r in rows] == [0, 1, 2, 3]


def test_past_256_schemas_rows_describe_themselves(packing) -> None:
    for i in range(300):
        packing.log({f"k{i}": float(i)})
    rows = packing.rows()
    assert [r.values for r in rows] == [{f"k{i}": float(i)} for i in range(300)]
    assert sum(r.header.schema_id == INLINE_SCHEMA_ID for r in rows) == 300 - 256


def test_the_automatic_step_is_one_above_the_highest(packing) -> None:
    packing.log({"a": 1})
    packing.log({"a": 2}, 10)
    packing.log({"a": 3})
    packing.log({"a": 4}, 5)
    packing.log({"a": 5})
    assert [(r.header.step, r.values["a"]) for r in packing.rows()] == [
        (0, 1),
        (10, 2),
        (11, 3),
        (5, 4),
        (12, 5),
    ]


def test_a_step_that_goes_down_is_kept_and_flagged(packing) -> None:
    packing.log({"a": 1}, 7)
    packing.log({"a": 2}, 3)
    packing.log({"a": 3}, 7)
    assert [r.header.flags for r in packing.rows()] == [0, FLAG_STEP_WENT_DOWN, 0]


def test_commit_false_keeps_the_step_open_and_each_part_is_written_at_once(packing) -> None:
    packing.log({"a": 1}, commit=False)
    assert len(packing.rows()) == 1
    packing.log({"b": 2}, commit=False)
    assert packing.packer.next_step == 0
    packing.log({"c": 3})
    packing.log({"d": 4})
    assert [(r.header.step, r.header.flags) for r in packing.rows()] == [
        (0, FLAG_PARTIAL), (0, FLAG_PARTIAL), (0, 0), (1, 0)]  # fmt: skip


def test_two_calls_with_one_step_are_one_step(packing) -> None:
    packing.log({"a": 1}, 4)
    packing.log({"b": 2}, 4)
    packing.log({"a": 1})
    assert [r.header.step for r in packing.rows()] == [4, 4, 5]


def test_the_first_step_after_a_point_is_the_next(new_packing) -> None:
    packing = new_packing(StepCount(highest=200))
    packing.log({"a": 1})
    assert packing.rows()[0].header.step == 201


def test_relative_steps_count_from_zero_until_the_user_says_where(new_packing) -> None:
    packing = new_packing(StepCount(is_relative=True))
    packing.log({"a": 1})
    packing.log({"a": 1})
    packing.log({"a": 1}, 50)
    packing.log({"a": 1})
    assert [(r.header.step, r.header.flags) for r in packing.rows()] == [
        (0, FLAG_RELATIVE_STEP), (1, FLAG_RELATIVE_STEP), (50, 0), (51, 0)]  # fmt: skip


def test_a_mistake_writes_nothing_and_takes_no_step(packing) -> None:
    packing.log({"a": 1})
    for data, step in (
        ({"a": {1}}, None),
        ({1: 2}, None),
        ({"a": 1}, -1),
        ([1], None),
        ({"a": 1}, True),
    ):
        with pytest.raises(UsageError, match=r"kelt\.log"):
            packing.log(data, step)
    packing.log({"a": 2})
    assert [r.header.step for r in packing.rows()] == [0, 1]


def test_the_rows_own_keys_set_step_and_times(packing) -> None:
    packing.log({"a": 1, "_step": 9, "_timestamp": 12.5, "_runtime": 3})
    header = packing.rows()[0].header
    assert (header.step, header.timestamp, header.runtime) == (9, 12.5, 3.0)
    assert packing.rows()[0].values == {"a": 1}
    with pytest.raises(UsageError, match="give one of them"):
        packing.log({"_step": 10, "a": 1}, 11)
    with pytest.raises(UsageError, match="'_timestamp' is kelt's own"):
        packing.log({"_timestamp": "now"})


def test_a_row_that_is_too_large_names_its_largest_value(packing) -> None:
    with pytest.raises(UsageError, match="'big' is its largest value"):
        packing.log({"small": 1, "big": "x" * (9 * 1024 * 1024)})
    assert packing.packer.next_step == 0


def test_threads_share_steps_without_loss_or_repeat(packing) -> None:
    def work(number: int) -> None:
        for i in range(400):
            packing.log({"thread": number, "i": i})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = packing.rows()
    assert [r.header.step for r in rows] == list(range(2400))
    assert not any(r.header.flags for r in rows)
    for n in range(6):
        assert [r.values["i"] for r in rows if r.values["thread"] == n] == list(range(400))


def test_a_signal_handler_that_logs_loses_nothing(packing) -> None:
    handled = itertools.count()
    count = 0

    def handler(*_: object) -> None:
        nonlocal count
        count = next(handled) + 1
        packing.log({"from": "handler", "i": count})

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
    try:
        for i in range(20_000):
            packing.log({"i": i})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    rows = packing.rows()
    assert count > 5
    assert [r.values["i"] for r in rows if "from" not in r.values] == list(range(20_000))
    assert sorted(r.values["i"] for r in rows if "from" in r.values) == list(range(1, count + 1))
    assert len({r.header.step for r in rows}) == len(rows)


def test_a_keyboard_interrupt_anywhere_loses_and_repeats_nothing(packing) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    seed = random.Random(7)
    certain: set[int] = set()
    interrupted = 0
    previous = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # an interrupt in a collector's callback is swallowed by Python
    try:
        i = 0
        while interrupted < 150:
            try:
                signal.setitimer(signal.ITIMER_REAL, seed.uniform(0.00002, 0.0004))
                for _ in range(500):
                    i += 1
                    packing.log({"i": i, "x": 1.0} if i % 7 else {"i": i, "text": "t"})
                    certain.add(i)
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.enable()
    rows = packing.rows()
    found = [r.values["i"] for r in rows]
    assert found == sorted(set(found))
    assert certain <= set(found)
    assert len(found) - len(certain) <= interrupted
    steps = [r.header.step for r in rows]
    assert steps == sorted(set(steps))
