"""The rows of one run at one step: those of its own branch, of any writer."""

from __future__ import annotations

from server.stand import Stand
from server.streams import Stream, simple_run, writer_id

from kelt_proto.v1 import record_pb2, rows
from kelt_server.metrics.store import RowAt


def test_the_rows_at_a_step_are_those_of_every_writer_and_part(stand: Stand) -> None:
    first, second = simple_run(1, row_count=4), Stream(writer_id(2))
    second.opened("proj", "run", "b", started_at=9.0, resumed=record_pb2.Resumed())
    second.row(3, {"a": 1.0}, flags=rows.FLAG_PARTIAL, timestamp=200.0)
    second.row(3, {"b": 1.0}, timestamp=201.0)
    stand.push([*first.batches(), *second.batches()])
    assert stand.reader.rows.rows_at("-", "proj", "run", 3) == [
        RowAt(first.writer_id, 5, 103.0),
        RowAt(second.writer_id, 2, 200.0),
        RowAt(second.writer_id, 3, 201.0),
    ]
    assert stand.reader.rows.rows_at("-", "proj", "run", 4) == []


def test_relative_steps_count_from_the_base_and_inherited_rows_are_not_its_own(
    stand: Stand,
) -> None:
    parent, resumed = simple_run(1, row_count=4), Stream(writer_id(2))
    unknown = record_pb2.Resumed(point_unknown=True)
    resumed.opened("proj", "run", "cont", started_at=9.0, resumed=unknown)
    resumed.row(0, {"loss": 1.0}, flags=rows.FLAG_RELATIVE_STEP, timestamp=300.0)
    stand.push([*parent.batches(), *resumed.batches()])
    assert stand.reader.rows.rows_at("-", "proj", "run", 4) == [RowAt(writer_id(2), 2, 300.0)]
    assert stand.reader.rows.rows_at("-", "proj", "run", 0) == []
    assert [row.timestamp for row in stand.reader.rows.rows_at("-", "proj", "b", 0)] == [100.0]
