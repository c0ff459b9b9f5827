"""A file of W&B's client, of a run that the client itself had sent here, wholly or in part."""

from __future__ import annotations

from typing import Any

import pytest
from server.stand import NOW, Stand
from server.streams import Stream

from kelt_proto.v1 import frames, record_pb2, rows
from kelt_proto.v1.record_pb2 import Retold
from kelt_server.errors import StoreError
from kelt_server.ingest.group import GroupCommitter
from kelt_server.ingest.pushes import Push
from kelt_server.ingest.retelling import Retellings, Told

STARTED_AT = NOW - 1000.0


def session(number: int = 1, branch_id: str = "client", **more: Any) -> Stream:
    """What the door makes of a client's session."""
    stream = Stream(bytes([number]) * 16)
    said: dict[str, Any] = {"started_at": STARTED_AT, "created": {}} | more
    stream.opened("proj", "run", branch_id, **said)
    stream.config(STARTED_AT, lr=0.1)
    return stream


def file(number: int = 2, *, process: str = "", **more: Any) -> Stream:
    """What `kelt sync` makes of a file; its host's clock is behind."""
    stream = Stream(bytes([number]) * 16)
    opened = {"created": {}, "retold": Retold(process=process)} | more
    stream.opened("proj", "run", f"file{number}", started_at=STARTED_AT - 60, **opened)
    stream.config(STARTED_AT, lr=0.1)
    return stream


def log(stream: Stream, steps: range, *, flags: int = 0, shift: int = 0) -> None:
    for step in steps:
        values = {"x": float(step + shift)}
        stream.row(step, values, timestamp=at(step + shift), flags=flags)


def at(step: int) -> float:
    return STARTED_AT + step + 0.25


def values(stand: Stand, run: str = "run") -> list[tuple[int, float]]:
    return [(row["step"], row["values"]["x"]) for row in stand.rows(run)]


def expected(steps: int) -> list[tuple[int, float]]:
    return [(step, float(step)) for step in range(steps)]


def test_rows_that_the_client_could_not_send_are_filled_in(stand: Stand) -> None:
    client, again = session(), file()
    log(client, range(40))
    client.summary(39, {"best": 1})
    log(again, range(60))
    again.summary(39, {"best": 1})
    again.summary(59, {"best": 2})
    again.config(at(50), lr=0.2)
    again.exit(1, at=at(60))
    stand.push(client.batches())
    for batch in again.batches(size=25) * 2:
        stand.push([batch])
    run = stand.run("run")
    assert values(stand) == expected(60)
    assert (run["immutable_id"], run["archived"], run["problems"]) == ("client", [], [])
    assert (run["state"], run["rows"], len(run["sessions"])) == ("failed", 60, 1)
    assert (run["summary"]["x"], run["summary"]["best"], run["config"]) == (59.0, 2, {"lr": 0.2})


def test_a_client_that_goes_on_does_not_repeat_what_its_file_told(stand: Stand) -> None:
    client, again = session(), file()
    log(client, range(10))
    stand.push(client.batches())
    log(again, range(30))
    again.summary(29, {"best": 1})
    stand.push(again.batches())
    committed = client.last_seq
    log(client, range(10, 50))
    client.summary(49, {"best": 2})
    client.exit(0, at=at(50))
    stand.push([client.batch(committed + 1, client.last_seq)])
    run = stand.run("run")
    assert values(stand) == expected(50)
    assert (run["state"], run["summary"]["x"], run["summary"]["best"]) == ("finished", 49.0, 2)


def test_both_in_one_commit(stand: Stand) -> None:
    client, again = session(), file()
    log(client, range(10))
    log(again, range(20))
    stand.push(client.batches())
    stand.push([again.batch(1, 2 + 5)])
    more = client.last_seq
    log(client, range(10, 20))
    pushes = [client.batch(more + 1, client.last_seq), again.batch(8, again.last_seq)]
    stand.group.commit([Push([batch], None) for batch in pushes])
    assert values(stand) == expected(20)


@pytest.mark.parametrize("apart", [0.5, -3600.0])
def test_runs_that_share_an_id_alone_stay_apart(stand: Stand, apart: float) -> None:
    client, other = session(), file()
    log(client, range(10))
    for step in range(10):
        other.row(step, {"x": 100.0 + step}, timestamp=at(step) + apart)
    stand.push(client.batches())
    stand.push(other.batches())
    assert values(stand) == expected(10)
    assert stand.run("run")["archived"] == ["file2"]
    assert values(stand, "file2") == [(step, 100.0 + step) for step in range(10)]


def test_a_file_goes_to_the_run_of_its_id_that_it_is_of(stand: Stand) -> None:
    first, second = session(1, "first"), Stream(b"s" * 16)
    second.opened("proj", "run", "second", started_at=STARTED_AT + 500, created={})
    log(first, range(5))
    for step in range(5):
        second.row(step, {"x": 100.0 + step}, timestamp=at(500 + step))
    again = file()
    log(again, range(9))
    for stream in (first, second, again):
        stand.push(stream.batches())
    assert values(stand, "first") == expected(9)
    assert values(stand) == [(step, 100.0 + step) for step in range(5)]
    assert stand.run("run")["archived"] == ["first"]


def test_a_session_without_a_row_is_known_by_a_system_sample(stand: Stand) -> None:
    client, again = session(), file()
    sample = record_pb2.SystemSample(at=at(1), runtime=1.0)
    sample.values.add(key="system.cpu", json="1")
    for stream in (client, again):
        stream.record(frames.Kind.SYSTEM, record_pb2.System(samples=[sample]))
    log(again, range(5))
    stand.push(client.batches())
    stand.push(again.batches())
    assert values(stand) == expected(5)
    assert stand.run("run")["archived"] == []
    assert stand.reader.rows.samples("-", "proj", "run")[0] == 1


def test_a_session_without_anything_is_known_by_its_process(stand: Stand) -> None:
    client, again, other = session(), file(process="p1"), file(3, process="p2")
    stand.push(client.batches())
    known = {"p1": Told(client.writer_id, "client"), "p2": Told(b"w" * 16, "gone")}
    group = GroupCommitter(
        catalog=stand.stores.catalog, metrics=stand.stores.metrics, objects=stand.stores.objects,
        clock=lambda: NOW, default_entity="local", counters=stand.counters,
        noticed=stand.reader.notice, session_of_process=lambda _name, process: known[process],
    )  # fmt: skip
    log(again, range(5))
    group.commit([Push(again.batches(), None), Push(other.batches(), None)])
    assert values(stand) == expected(5)
    assert stand.run("run")["archived"] == ["file3"]


def test_steps_from_the_end_of_a_resumed_run_are_those_that_the_client_sent(stand: Stand) -> None:
    first, resumed = session(), session(3, resumed={"last_step": 9})
    log(first, range(10))
    log(resumed, range(10, 15))
    again = file(resumed={"point_unknown": True, "last_step": -1, "mode": "allow"})
    log(again, range(8), flags=rows.FLAG_RELATIVE_STEP, shift=10)
    again.summary(7, {"best": 3})
    for stream in (first, resumed, again):
        stand.push(stream.batches())
    assert values(stand) == expected(18)
    assert stand.run("run")["archived"] == []
    assert stand.reader.summary_at("-", "proj", "run", 16).get("best") is None


def test_console_lines_are_the_sessions_own(stand: Stand) -> None:
    client, again = session(), file()
    for stream, number in ((client, 2), (again, 4)):
        log(stream, range(3))
        lines = [record_pb2.ConsoleLine(number=n, text=f"line {n}") for n in range(number)]
        stream.record(frames.Kind.CONSOLE, record_pb2.Console(lines=lines))
        stand.push(stream.batches())
    (kept,) = stand.stores.catalog.consoles(["client"])
    lines = stand.stores.catalog.lines_after(kept, -1, 10)
    assert [line.text for line in lines] == [f"line {n}" for n in range(4)]


def test_files_and_losses_of_the_file_are_the_runs(stand: Stand) -> None:
    client, again = session(), file()
    for stream in (client, again):
        log(stream, range(3))
        stand.push(stream.batches())
    last = again.last_seq
    again.loss(again.writer_id, again.last_seq + 1, again.last_seq + 1, "damaged")
    piece = record_pb2.FilePiece(name="output.log", version=b"v", size_bytes=2, content=b"hi")
    again.record(frames.Kind.FILE_PIECE, piece)
    stand.push([again.batch(last + 1, again.last_seq)])
    assert stand.run("run")["lost_rows"] == 1
    assert [f.name for f in stand.reader.files.all(("-", "proj", "run"))] == ["output.log"]


def test_a_commit_that_reached_the_catalog_alone_is_made_up(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, again = session(), file()
    log(client, range(5))
    log(again, range(9))
    stand.push(client.batches())

    def fails(*_: Any) -> None:
        raise StoreError("no")

    with monkeypatch.context() as patch:
        patch.setattr(type(stand.stores.metrics), "commit", fails)
        with pytest.raises(StoreError):
            stand.push(again.batches())
    restarted = Stand.on(stand.stores)
    restarted.push(again.batches())
    assert values(restarted) == expected(9)
    assert restarted.run("run")["archived"] == []


def test_rows_of_many_shapes_are_looked_up_once_a_batch(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, again = session(), file()
    for stream in (client, again):
        for step in range(20):
            stream.row(step, {"xy"[step % 2]: float(step)}, timestamp=at(step))
    stand.push(client.batches())
    asked: list[Any] = []
    stamps = type(stand.stores.metrics).stamps

    def counted(*args: Any, **more: Any) -> Any:
        asked.append(more)
        return stamps(*args, **more)

    monkeypatch.setattr(type(stand.stores.metrics), "stamps", counted)
    stand.push(again.batches())
    assert stand.run("run")["rows"] == 20
    assert len(asked) == 2  # whose rows they are, and which of them are new


@pytest.mark.parametrize("what", ["row", "summary", "line"])
def test_steps_and_numbers_out_of_bounds_stop_nobody(stand: Stand, what: str) -> None:
    client, resumed = session(), session(3, resumed={"last_step": 9})
    again = file(resumed={"point_unknown": True, "last_step": -1, "mode": "allow"})
    log(client, range(10))
    log(resumed, range(10, 15))
    far = record_pb2.Console(lines=[record_pb2.ConsoleLine(number=2**62, text="far")])
    client.record(frames.Kind.CONSOLE, far)
    if what == "row":
        again.row(-(2**63), {"x": 0.0}, timestamp=at(12), flags=rows.FLAG_RELATIVE_STEP)
    log(again, range(8), flags=rows.FLAG_RELATIVE_STEP, shift=10)
    if what == "summary":
        again.summary(2**63 - 1, {"best": 3})
    if what == "line":
        again.record(frames.Kind.CONSOLE, far)
    for stream in (client, resumed, again):
        stand.push(stream.batches())
    assert values(stand)[-18:] == expected(18)
    assert stand.run("run")["archived"] == []


def test_a_row_without_a_time_does_not_hide_whose_the_others_are(stand: Stand) -> None:
    client, again = session(), file()
    log(client, range(10))
    again.row(0, {"y": 1.0}, timestamp=float("nan"))
    log(again, range(12))
    stand.push(client.batches())
    stand.push(again.batches())
    assert stand.run("run")["archived"] == []
    assert stand.run("run")["rows"] == 13


def test_steps_do_not_go_on_from_what_later_sessions_logged(stand: Stand) -> None:
    first, resumed = session(), session(3, resumed={"last_step": 9}, started_at=STARTED_AT + 100)
    later = session(4, resumed={"last_step": 9}, started_at=STARTED_AT + 500)
    again = file(resumed={"point_unknown": True, "last_step": -1, "mode": "allow"})
    sample = record_pb2.SystemSample(at=at(1), runtime=1.0)
    sample.values.add(key="system.cpu", json="1")
    for stream in (resumed, again):
        stream.record(frames.Kind.SYSTEM, record_pb2.System(samples=[sample]))
    log(first, range(10))
    log(later, range(15, 20))
    log(again, range(5), flags=rows.FLAG_RELATIVE_STEP, shift=10)
    for stream in (first, resumed, later, again):
        stand.push(stream.batches())
    assert values(stand) == expected(20)


def test_lines_are_not_counted_on_from_those_of_a_later_session(stand: Stand) -> None:
    client, again = session(), file()
    later = session(3, resumed={"last_step": 2}, started_at=STARTED_AT + 100)
    log(client, range(3))
    log(later, range(3, 5))
    log(again, range(3))
    stand.push(client.batches())
    committed = client.last_seq
    for stream in (later, again, client):
        lines = [record_pb2.ConsoleLine(number=n, text=f"line {n}") for n in range(4)]
        stream.record(frames.Kind.CONSOLE, record_pb2.Console(lines=lines))
    stand.push(later.batches())
    stand.push(again.batches())
    stand.push([client.batch(committed + 1, client.last_seq)])  # what it sends late
    kept = {k.writer_id: k for k in stand.stores.catalog.consoles(["client"])}
    lines_there = stand.stores.catalog.lines_after(kept[client.writer_id], -1, 10)
    assert [line.number for line in lines_there] == [0, 1, 2, 3]


def test_a_mistake_of_ours_stops_nobody_and_loses_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any) -> None:
        raise ArithmeticError

    monkeypatch.setattr(Retellings, "_told_before", fails)
    client, again = session(), file()
    for stream in (client, again):
        log(stream, range(10))
        stand.push(stream.batches())
    assert values(stand) == expected(10)
    (other,) = stand.run("run")["archived"]
    assert stand.reader.branch(other).rows == 10
