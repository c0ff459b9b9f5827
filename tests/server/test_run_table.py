"""The remembered runs of a project are those that are resolved anew, whatever happened meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.model.worlds import arrivals, worlds
from server.stand import NOW, Stand
from server.streams import Stream, simple_run, writer_id

from harness.amounts import amount
from kelt_proto.v1 import record_pb2
from kelt_server import liveness
from kelt_server.branch_names import Name
from kelt_server.changes import Key
from kelt_server.errors import StoreError
from kelt_server.facts import LifeSign
from kelt_server.reader import RunReader
from kelt_server.run_table import Resolved, RunTable


def anew(stand: Stand, now: float = NOW) -> list[dict[str, Any]]:
    """The runs, by a reader that remembers nothing."""
    reader = RunReader(
        catalog=stand.stores.catalog,
        metrics=stand.stores.metrics,
        objects=stand.stores.objects,
        clock=lambda: now,
        server_started_at=NOW - 10,
        lease_s=1800.0,
        default_entity="local",
    )
    names = stand.stores.catalog.names("local", "proj")
    return by_id([reader.run(*name).as_json() for name in names])


def by_id(runs: Iterable[Any]) -> list[dict[str, Any]]:
    return sorted((dict(run) for run in runs), key=lambda run: str(run["immutable_id"]))


@settings(max_examples=amount(12, long=60), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_after_any_commits_the_table_is_what_a_fresh_reader_sees(data: st.DataObject) -> None:
    _, streams = data.draw(worlds())
    batches = data.draw(arrivals(streams))
    with tempfile.TemporaryDirectory() as folder, Stand.opened(Path(folder)) as stand:
        while batches:
            size = data.draw(st.integers(1, len(batches)))
            stand.push(batches[:size])
            batches = batches[size:]
            if data.draw(st.booleans()):
                assert by_id(stand.reader.runs("-", "proj")) == anew(stand)
        assert by_id(stand.reader.runs("-", "proj")) == anew(stand)
        assert by_id(stand.reader.runs("-", "proj")) == anew(stand)  # out of memory, too


def test_a_sign_of_life_a_loss_and_an_exit_are_seen_at_once(stand: Stand) -> None:
    stream = simple_run(row_count=2)
    stand.push(stream.batches())
    stand.reader.runs("-", "proj")
    stand.group.commit([], [LifeSign(stream.writer_id, NOW - 1, stalled=True)])
    (run,) = stand.reader.runs("-", "proj")
    assert (run["heartbeat_at"], run["reason"]) == (NOW - 1, anew(stand)[0]["reason"])
    first = stream.last_seq + 1
    stream.exit(3, at=NOW)
    stand.push([stream.batch(first, stream.last_seq)])
    (run,) = stand.reader.runs("-", "proj")
    assert run["state"] == "failed"
    witness = Stream(writer_id(9))
    witness.loss(stream.writer_id, 20, 25)
    stand.push(witness.batches())
    assert [run["lost_rows"] for run in stand.reader.runs("-", "proj")] == [6]


def test_rows_of_a_parent_that_comes_late_are_seen_in_its_fork(stand: Stand) -> None:
    parent, fork = simple_run(1, row_count=5), Stream(writer_id(2))
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="b", step=3)
    fork.opened("proj", "fork", "f", started_at=9.0, forked=point)
    stand.push(fork.batches())
    assert [run["rows"] for run in stand.reader.runs("-", "proj")] == [0]
    stand.push(parent.batches())
    assert {run["run_id"]: run["rows"] for run in stand.reader.runs("-", "proj")} == {
        "run": 5,
        "fork": 4,
    }


@pytest.mark.parametrize(
    "later_s", [0.0, 79.0, 80.0, 81.0, 90.0, 91.0, 1789.0, 1790.5, 1801.0, 9e9]
)
def test_what_time_alone_changes_is_seen_when_it_changes(stand: Stand, later_s: float) -> None:
    """A run that was heard of before the server started, one since, one that said goodbye."""
    heard, ended = (
        simple_run(2, run_id="heard", branch_id="h"),
        simple_run(3, run_id="e", branch_id="e"),
    )
    ended.exit(0, at=NOW)
    stand.push([*simple_run(1).batches(), *heard.batches(), *ended.batches()])
    stand.group.commit(
        [], [LifeSign(writer_id(1), NOW - 500, False), LifeSign(writer_id(2), NOW, False)]
    )
    clock = [NOW]
    reader = RunReader(
        catalog=stand.stores.catalog, metrics=stand.stores.metrics, objects=stand.stores.objects,
        clock=lambda: clock[0], server_started_at=NOW - 10, lease_s=1800.0, default_entity="local",
    )  # fmt: skip
    reader.runs("-", "proj")
    clock[0] = NOW + later_s
    assert by_id(reader.runs("-", "proj")) == anew(stand, NOW + later_s)


def test_a_silence_is_said_to_change_when_it_does() -> None:
    session = simple_session()
    facts: dict[str, Any] = {
        "goodbye": None,
        "assertions": (),
        "server_started_at": 0.0,
        "lease_s": 100.0,
    }
    for heard_at in (-5.0, 0.0, 3.0, 40.0):
        sign = LifeSign(b"w", heard_at, stalled=False)
        now = 0.0
        for _ in range(6):
            until = liveness.holds_until(session, sign=sign, now=now, **facts)
            said = liveness.judge(session, sign=sign, now=now, **facts)
            for at in (now, (now + min(until, now + 500)) / 2, min(until, now + 500)):
                assert liveness.judge(session, sign=sign, now=at, **facts) == said
            if until == float("inf"):
                assert said.state == liveness.CRASHED
                break
            now = until + 0.001
        else:
            raise AssertionError("it never ends")


def simple_session() -> Any:
    from kelt_server.facts import SessionFact

    return SessionFact(b"w", 1, "b", 0.0)


class Source:
    """Runs by name, with how often each was resolved."""

    def __init__(self, count: int, cells: int = 10) -> None:
        self.known: list[Name] = [("e", "p", f"r{n:02}") for n in range(count)]
        self.cells = cells
        self.asked: list[Name] = []
        self.during: Any = None
        self.version = 0

    def names(self, entity: str, project: str | None) -> list[Name]:
        return [n for n in self.known if n[0] == entity and project in (None, n[1])]

    def resolve(self, names: Sequence[Name]) -> list[Resolved]:
        self.asked += names
        if self.during is not None:
            self.during()
        config = {f"c{n}": self.version for n in range(self.cells - 1)}
        return [
            Resolved(
                name, {"run_id": name[2], "config": config, "summary": {}}, rests, float("inf")
            )
            for name in names
            for rests in [frozenset[Key]({name, name[2]})]
        ]


def table_of(source: Source, cells_max: int = 10_000) -> RunTable:
    return RunTable(
        names=source.names, resolve=source.resolve, clock=lambda: 0.0, cells_max=cells_max
    )


def test_only_what_changed_is_resolved_again() -> None:
    source = Source(5)
    table = table_of(source)
    table.documents("e", "p")
    table.documents("e", "p")
    assert len(source.asked) == 5
    table.notice({"r03", b"a writer of no run", ("e", "other", "r01")})
    table.documents("e", "p")
    assert source.asked[5:] == [("e", "p", "r03")]


def test_a_change_while_runs_are_resolved_is_not_missed() -> None:
    source = Source(2)
    table = table_of(source)
    source.during = lambda: table.notice({"r01"})
    table.documents("e", "p")
    source.during, source.version = None, 7
    assert [run["config"]["c0"] for run in table.documents("e", "p")] == [0, 7]


def test_after_a_failure_everything_is_resolved_again() -> None:
    source = Source(3)
    table = table_of(source)

    def fail() -> None:
        raise StoreError("not now")

    source.during = fail
    with pytest.raises(StoreError):
        table.documents("e", "p")
    source.during = None
    assert len(table.documents("e", "p")) == 3


def test_at_the_bound_others_are_forgotten_and_counted_and_a_large_project_is_still_whole() -> None:
    source = Source(6)
    source.known += [("e", "q", f"q{n}") for n in range(6)]
    table = table_of(source, cells_max=70)
    for _ in range(2):
        assert len(table.documents("e", "p")) == 6
        assert len(table.documents("e", "q")) == 6
    assert table.forgotten == 3
    assert len(source.asked) == 24
    small = table_of(source, cells_max=35)
    for _ in range(2):
        assert sorted(run["run_id"] for run in small.documents("e", "p")) == [
            f"r{n:02}" for n in range(6)
        ]
