"""Cursors, repeats, gaps, losses, and a crash between the two stores; on the real stores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from server.stand import Stand
from server.streams import Stream, sealed, simple_run, writer_id

from kelt_proto.v1 import frames, record_pb2
from kelt_server.errors import BadBatchError, BadRequestError, StoreError
from kelt_server.ingest.pushes import Push

Open = Callable[[], AbstractContextManager[Stand]]


def steps(stand: Stand, run: str = "run") -> list[int]:
    return [row["step"] for row in stand.rows(run)]


def test_a_push_is_acknowledged_with_its_last_number(stand: Stand) -> None:
    stream = simple_run(row_count=5)
    (ack,) = stand.push([stream.batch(1, 6)])
    assert (ack.committed_through, ack.gap) == (6, False)
    assert steps(stand) == [0, 1, 2, 3, 4]


@pytest.mark.covers(phase="committed_ack_lost", fault="error reply")
def test_a_repeat_changes_nothing_and_is_acknowledged(stand: Stand) -> None:
    stream = simple_run(row_count=5)
    for _ in range(3):
        (ack,) = stand.push([stream.batch(1, 6)])
        assert ack.committed_through == 6
    assert steps(stand) == [0, 1, 2, 3, 4]
    assert stand.counters.rows == 5


def test_of_an_overlap_only_the_new_part_is_taken(stand: Stand) -> None:
    stream = simple_run(row_count=5)
    stand.push([stream.batch(1, 3)])
    (ack,) = stand.push([stream.batch(2, 6)])
    assert ack.committed_through == 6
    assert steps(stand) == [0, 1, 2, 3, 4]
    assert stand.counters.rows == 5


def test_a_gap_takes_nothing_and_says_where_to_go_back_to(stand: Stand) -> None:
    stream = simple_run(row_count=5)
    stand.push([stream.batch(1, 2)])
    (ack,) = stand.push([stream.batch(4, 6)])
    assert (ack.committed_through, ack.gap) == (2, True)
    assert steps(stand) == [0]


def test_batches_of_one_group_may_close_each_others_gaps(stand: Stand) -> None:
    stream = simple_run(row_count=5)
    (ack,) = stand.push([stream.batch(4, 6), stream.batch(1, 3)])
    assert (ack.committed_through, ack.gap) == (6, False)
    assert steps(stand) == [0, 1, 2, 3, 4]


def test_a_declared_loss_lets_the_writer_go_on(stand: Stand) -> None:
    stream, daemon = simple_run(row_count=6), Stream(writer_id(99))
    stand.push([stream.batch(1, 2)])
    daemon.loss(stream.writer_id, 3, 4)
    stand.push([daemon.batch(1, 1)])
    (ack,) = stand.push([stream.batch(5, 7)])
    assert (ack.committed_through, ack.gap) == (7, False)
    assert steps(stand) == [0, 3, 4, 5]
    run = stand.run("run")
    assert [(loss["first_seq"], loss["last_seq"]) for loss in run["losses"]] == [(3, 4)]
    assert run["lost_rows"] == 2


def test_a_loss_of_the_tail_is_acknowledged_through_its_end(open_stand: Open) -> None:
    stream, daemon = simple_run(row_count=3), Stream(writer_id(99))
    daemon.loss(stream.writer_id, 5, 9)
    with open_stand() as stand:
        stand.push([daemon.batch(1, 1), stream.batch(1, 4)])
        (ack,) = stand.group.committed_through([stream.writer_id])
        assert ack.committed_through == 9
    with open_stand() as stand:
        (ack,) = stand.group.committed_through([stream.writer_id])
        assert ack.committed_through == 9


def test_a_loss_of_a_writer_that_has_said_nothing_is_known_after_a_restart(
    open_stand: Open,
) -> None:
    stream, daemon = simple_run(row_count=3), Stream(writer_id(99))
    daemon.loss(stream.writer_id, 1, 2)
    with open_stand() as stand:
        stand.push([daemon.batch(1, 1)])
    with open_stand() as stand:
        (ack,) = stand.group.committed_through([stream.writer_id])
        assert ack.committed_through == 2
        (ack,) = stand.push([stream.batch(3, 4)])
        assert (ack.committed_through, ack.gap) == (4, False)


def test_a_writer_that_asked_before_it_said_anything_is_kept_up_to_date(stand: Stand) -> None:
    stream = simple_run(row_count=3)
    (ack,) = stand.group.committed_through([stream.writer_id])
    assert ack.committed_through == 0
    stand.push(stream.batches())
    (ack,) = stand.group.committed_through([stream.writer_id])
    assert ack.committed_through == stream.last_seq


def test_a_crash_between_the_stores_costs_nothing(open_stand: Open) -> None:
    class Broken:
        """The metrics of a server that dies after the catalog has committed."""

        def __init__(self, metrics: Any) -> None:
            self.cursors = metrics.cursors
            self.names_total = metrics.names_total

        def commit(self, *_: Any) -> None:
            raise StoreError("pulled the plug")

    stream = simple_run(row_count=3)
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="b", step=1)
    stream.rewind("b2", at=50.0, point=point)
    stream.row(2, {"loss": 9.0})
    stream.config(60.0, lr=0.5)
    stream.record(77, b"from the future")
    with open_stand() as stand:
        dying = Stand.on(stand.stores, Broken(stand.stores.metrics))
        with pytest.raises(StoreError):
            dying.push([stream.batch(1, stream.last_seq)])
    with open_stand() as stand:
        (before,) = stand.group.committed_through([stream.writer_id])
        assert before.committed_through == 0
        assert steps(stand, "b") == []
        for batch in stream.batches(2):
            (ack,) = stand.push([batch])
        assert ack.committed_through == stream.last_seq
        assert steps(stand, "b") == [0, 1, 2]
        assert [row["values"]["loss"] for row in stand.rows("run")] == [0.5, 1.5, 9.0]
        run = stand.run("run")
        assert run["config"] == {"lr": 0.5}
        assert len(run["losses"]) == 1  # not told again to the catalog, which had it
        assert (run["immutable_id"], run["archived"]) == ("b2", ["b"])


def test_one_push_that_cannot_be_committed_does_not_hold_up_the_others(stand: Stand) -> None:
    class Picky:
        def __init__(self, metrics: Any) -> None:
            self.inner, self.cursors = metrics, metrics.cursors
            self.names_total = metrics.names_total

        def commit(self, blocks: Any, cursors: Any) -> None:
            if writer_id(2) in cursors:
                raise StoreError("not this one")
            self.inner.commit(blocks, cursors)

    picky = Stand.on(stand.stores, Picky(stand.stores.metrics))
    one, two = simple_run(1), simple_run(2, run_id="two", branch_id="b2")
    good, bad = picky.group.commit([Push(one.batches()), Push(two.batches())])
    assert isinstance(bad, StoreError)
    assert isinstance(good, list)
    assert good[0].committed_through == one.last_seq
    assert steps(stand) == [0, 1, 2]


def test_a_batch_damaged_on_the_way_is_refused_by_name(stand: Stand) -> None:
    batch = simple_run().batch(1, 4)
    batch.frames = batch.frames[:-1] + b"!"
    with pytest.raises(BadBatchError, match="1-4"):
        stand.push([batch])


@pytest.mark.parametrize(
    "batch",
    [
        sealed(b"short", 1, 1, b""),
        sealed(writer_id(1), 0, 1, b""),
        sealed(writer_id(1), 3, 2, b""),
        sealed(writer_id(1), 1, 2**63, b""),
    ],
)
def test_a_batch_that_is_none_is_refused(stand: Stand, batch: record_pb2.Batch) -> None:
    with pytest.raises(BadRequestError):
        stand.push([batch])


def test_content_that_cannot_be_read_is_a_loss_that_the_run_shows(stand: Stand) -> None:
    stream = simple_run(row_count=2)
    stream.record(frames.Kind.CONFIG, b"\xff\xff\xff")
    stream.record(77, b"from the future")
    stream.config(5.0, ok=1)
    stream.row(2, {"loss": 1.0})
    (ack,) = stand.push(stream.batches())
    assert ack.committed_through == stream.last_seq
    run = stand.run("run")
    assert [(loss["first_seq"], loss["last_seq"]) for loss in run["losses"]] == [(4, 4), (5, 5)]
    assert "unknown kind 77" in run["losses"][1]["reason"]
    assert run["config"] == {"ok": 1}
    assert run["rows"] == 3


def test_rows_whose_opening_was_lost_are_kept_on_a_run_of_their_own(stand: Stand) -> None:
    stream = simple_run(row_count=3)
    content = bytearray(stream.batch(1, 4).frames)
    content[content.index(b"proj")] ^= 1
    stand.push([sealed(stream.writer_id, 1, 4, bytes(content))])
    (run,) = stand.reader.runs("-", "Uncategorized")
    assert (run["rows"], run["kind"], run["lost_rows"]) == (3, "orphan", 1)
    assert "lost" in run["problems"][0]


def test_numbers_that_databases_dislike_are_taken(stand: Stand) -> None:
    stream = Stream(writer_id(1))
    stream.opened("proj", "run", "b", started_at=float("nan"), created=record_pb2.Created())
    stream.row(2**63 - 1, {"a\0b": float("nan"), "\ud800": "\ud800\0"}, timestamp=float("inf"))
    stream.row(-(2**63), {"a\0b": 2**62 + 1})
    stream.config(float("-inf"), key="\0")
    stream.exit(0, at=float("nan"))
    stream.loss(b"", 2**64 - 1, 2**64 - 1)
    (ack,) = stand.push(stream.batches())
    assert ack.committed_through == stream.last_seq
    rows = stand.rows("run")
    assert rows[0]["values"] == {"a\0b": 2**62 + 1}
    assert rows[1]["values"] == {"a\0b": {"$float": "NaN"}, "\ud800": "\ud800\0"}
    assert rows[1]["timestamp"] == {"$float": "Infinity"}
    assert stand.run("run")["state"] == "finished"


def test_an_emptied_metrics_store_asks_for_everything_again(
    open_stand: Open, tmp_path: Any
) -> None:
    stream = simple_run(row_count=3)
    with open_stand() as stand:
        stand.push(stream.batches())
        first_id = stand.stores.catalog.server_id
    (tmp_path / "metrics.duckdb").write_bytes(b"no database at all" * 1000)
    with open_stand() as stand:
        assert stand.stores.catalog.server_id != first_id
        assert [d.path for d in stand.stores.damaged] == ["metrics.duckdb"]
        assert (tmp_path / stand.stores.damaged[0].moved_to).exists()
        (ack,) = stand.push([stream.batch(3, 4)])
        assert (ack.committed_through, ack.gap) == (0, True)
        stand.push(stream.batches())
        assert steps(stand) == [0, 1, 2]


@pytest.mark.parametrize("damage", [b"", b"x" * 5000, None])
def test_an_emptied_catalog_asks_for_everything_again(
    open_stand: Open, tmp_path: Any, damage: bytes | None
) -> None:
    stream = simple_run(row_count=3)
    with open_stand() as stand:
        stand.push(stream.batches())
        first_id = stand.stores.catalog.server_id
    path = tmp_path / "catalog.sqlite"
    content = bytearray(path.read_bytes())
    if damage is None:
        content[100:3000] = b"\xa5" * 2900
        path.write_bytes(bytes(content))
    else:
        path.write_bytes(damage)
    with open_stand() as stand:
        assert stand.stores.catalog.server_id != first_id
        stand.push(stream.batches())
        assert steps(stand) == [0, 1, 2]
        assert stand.counters.rows == 0  # the metrics had them


def test_a_daemons_loss_over_a_range_in_the_writers_own_stream_is_one_loss(stand: Stand) -> None:
    """As the daemon replaces a damaged range: a batch of the range whose only frame ends it."""
    stream = simple_run(row_count=9)
    stand.push([stream.batch(1, 3)])
    loss = record_pb2.Loss(
        writer_id=stream.writer_id, first_seq=4, last_seq=7, rows=4, reason="damaged on disk"
    )
    frame = frames.encode_frame(stream.seed, frames.Kind.LOSS, 7, loss.SerializeToString())
    (ack,) = stand.push([sealed(stream.writer_id, 4, 7, frame)])
    assert (ack.committed_through, ack.gap) == (7, False)
    stand.push([stream.batch(8, 10)])
    assert steps(stand) == [0, 1, 6, 7, 8]
    run = stand.run("run")
    assert [(x["first_seq"], x["last_seq"], x["reason"]) for x in run["losses"]] == [
        (4, 7, "damaged on disk")
    ]
    assert run["lost_rows"] == 4


def test_a_reader_in_the_middle_of_a_commit_remembers_nothing_half_done(stand: Stand) -> None:
    """What is asked while rows are being committed must not be taken for the answer after."""
    metrics = stand.stores.metrics
    stream = simple_run(row_count=50)
    insert = metrics._insert

    def look_then_insert(name: str, *arguments: Any, **options: Any) -> None:
        insert(name, *arguments, **options)
        stand.run("run")

    metrics._insert = look_then_insert
    stand.push([stream.batch(1, 51)])
    metrics._insert = insert
    assert stand.run("run")["rows"] == 50
