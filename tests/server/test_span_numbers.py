"""Last values alone are asked for, until a definition wants more; what is remembered stays true."""

from __future__ import annotations

from server.stand import Stand
from server.streams import Stream, simple_run, writer_id

from kelt_proto.v1 import record_pb2
from kelt_server.metrics.store import Span
from kelt_server.span_numbers import Numbers, key_of


def numbers_of(stand: Stand, numbers: Numbers, *, is_full: bool) -> tuple[list[object], bool]:
    """The last values of the branch b, and whether there are aggregates."""
    span = Span("b", 0)
    streams = stand.stores.metrics.streams(["b"])
    found = numbers.of_spans([span], streams, in_full=[span] if is_full else [])[key_of(span)]
    return [value for last in found.lasts for value in last.values], found.aggregates is not None


def test_aggregates_are_found_once_they_are_wanted_and_then_remembered(stand: Stand) -> None:
    stream = simple_run(row_count=3)
    stand.push(stream.batches())
    numbers = Numbers(stand.stores.metrics)
    assert numbers_of(stand, numbers, is_full=False) == ([2.5], False)
    assert numbers_of(stand, numbers, is_full=True) == ([2.5], True)
    assert numbers_of(stand, numbers, is_full=False) == ([2.5], True)
    stream.row(3, {"loss": 9.0})
    stand.push([stream.batch(stream.last_seq, stream.last_seq)])
    assert numbers_of(stand, numbers, is_full=False) == ([9.0], False)


def test_a_definition_that_comes_after_a_look_changes_the_summary(stand: Stand) -> None:
    stream = simple_run(row_count=3)
    stand.push(stream.batches())
    assert stand.run("run")["summary"]["loss"] == 2.5
    stream.define("loss", "min")
    stand.push([stream.batch(stream.last_seq, stream.last_seq)])
    assert stand.run("run")["summary"]["loss"] == 0.5
    stream.define("lo*", "none")
    stream.define("loss", "last")
    stand.push([stream.batch(stream.last_seq - 1, stream.last_seq)])
    assert stand.run("run")["summary"]["loss"] == 2.5


def test_of_two_parents_children_only_one_defines_and_both_are_right(stand: Stand) -> None:
    """The same rows, summarised in two ways in one question."""
    stand.push(simple_run(row_count=6).batches())
    for number, how in ((2, "last"), (3, "max")):
        fork = Stream(writer_id(number))
        point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="b", step=3)
        fork.opened("proj", f"fork-{how}", f"f{number}", started_at=9.0, forked=point)
        fork.define("loss", how, step=3)
        fork.row(4, {"loss": 1.0, "own": 1})
        stand.push(fork.batches())
    runs = {run["run_id"]: run["summary"] for run in stand.reader.runs("-", "proj")}
    assert (runs["run"]["loss"], runs["fork-last"]["loss"], runs["fork-max"]["loss"]) == (
        5.5,
        1.0,
        3.5,
    )
    assert list(runs["fork-last"]) == ["loss", "own", "_step", "_timestamp", "_runtime"]


def test_last_values_of_every_kind_come_as_they_were_logged(stand: Stand) -> None:
    stream = simple_run(row_count=0)
    logged = {"z": 2**60 + 1, "b": True, "t": "é", "n": None, "j": [1, {"k": 2.0}], "s": "\ud800"}
    stream.row(0, {"f": 1.5, "late": 1.0})
    stream.row(1, logged)
    stand.push(stream.batches())
    summary = stand.run("run")["summary"]
    assert {key: summary[key] for key in logged} == logged
    assert [type(summary[key]) for key in logged] == [type(value) for value in logged.values()]
    metrics = [key for key in summary if not key.startswith("_")]
    assert metrics == sorted([*logged, "f", "late"])
