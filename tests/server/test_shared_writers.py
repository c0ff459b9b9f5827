"""Many writers of one run at a time: one run, whose state is its primary's, and each writer's own."""

from __future__ import annotations

import itertools

import pytest
from server.stand import NOW, Stand
from server.streams import Stream, simple_run, writer_id

from kelt_proto.v1 import frames, record_pb2
from kelt_server.errors import BadRequestError
from kelt_server.facts import LifeSign

CRASHED = record_pb2.Assertion.CRASHED


def writer(
    number: int,
    *,
    primary: bool = False,
    branch_id: str = "shared",
    started_at: float | None = None,
    label: str | None = None,
    entity: str = "",
    rows: int = 2,
) -> Stream:
    """Writer `number`, which starts at that time and logs its number under a key of its own."""
    stream = Stream(writer_id(number))
    label = f"rank_{number}" if label is None else label
    stream.opened(
        "proj",
        "run",
        branch_id,
        started_at=float(number) if started_at is None else started_at,
        entity=entity,
        created=record_pb2.Created(),
        shared=record_pb2.Shared(label=label, is_primary=primary),
    )
    for step in range(rows):
        stream.row(step, {f"k{number}": number, "common": number}, timestamp=10.0 + step)
    return stream


def death(of: Stream, *, at: float, signal: int = 9) -> list[record_pb2.Batch]:
    daemon = Stream(writer_id(1000 + int(at)))
    daemon.record(
        frames.Kind.ASSERTION,
        record_pb2.Assertion(writer_id=of.writer_id, state=CRASHED, signal=signal, at=at),
    )
    return daemon.batches()


def session(run: dict, label: str) -> dict:
    (found,) = [s for s in run["sessions"] if s["label"] == label]
    return found


def test_writers_make_one_run_in_whatever_order_they_arrive(stand: Stand) -> None:
    streams = [writer(1, primary=True), writer(2), writer(3)]
    for stream in (streams[2], streams[0], streams[1]):
        stand.push(stream.batches())
    run = stand.run("run")
    assert (run["immutable_id"], run["archived"], run["problems"]) == ("shared", [], [])
    assert (run["rows"], run["labels"]) == (6, ["rank_1", "rank_2", "rank_3"])
    assert [(row["step"], row["label"], row["values"]) for row in stand.rows("run")] == [
        (step, f"rank_{n}", {f"k{n}": n, "common": n}) for step in range(2) for n in (1, 2, 3)
    ]


def test_the_runs_state_is_its_primarys_and_a_writers_is_its_own(stand: Stand) -> None:
    first, second = writer(1, primary=True), writer(2)
    stand.push([*first.batches(), *second.batches(), *death(second, at=50.0)])
    run = stand.run("run")
    assert (run["state"], session(run, "rank_2")["state"]) == ("running", "crashed")
    assert run["problems"] == ["its writer rank_2 on host crashed: SIGKILL"]
    assert (session(run, "rank_2")["rows"], session(run, "rank_2")["last_step"]) == (2, 1)
    assert session(run, "rank_2")["last_row_at"] == 11.0
    third = writer(3)
    third.exit(0, at=60.0)
    stand.push(third.batches())
    assert stand.run("run")["state"] == "running"
    first.exit(0, at=70.0)
    stand.push(first.batches())
    assert stand.run("run")["state"] == "finished"


def test_a_dead_primary_ends_the_run_though_others_live_and_go_on(stand: Stand) -> None:
    first, second = writer(1, primary=True), writer(2)
    stand.push([*first.batches(), *second.batches(), *death(first, at=50.0)])
    second.row(2, {"k2": 9})
    stand.push([second.batch(second.last_seq, second.last_seq)])
    run = stand.run("run")
    assert (run["state"], run["reason"]) == ("crashed", "SIGKILL")
    assert (session(run, "rank_2")["state"], run["last_step"]) == ("running", 2)


def test_silence_is_a_writers_own(stand: Stand) -> None:
    first, second = writer(1, primary=True), writer(2)
    stand.push([*first.batches(), *second.batches()])
    stand.stores.catalog.commit(
        [],
        {},
        [LifeSign(first.writer_id, NOW, False), LifeSign(second.writer_id, NOW - 120, False)],
    )
    stand.as_if_started_at(NOW - 4000)
    run = stand.run("run")
    assert (run["state"], run["offline_since"]) == ("running", None)
    assert session(run, "rank_2")["offline_since"] == NOW - 120
    stand.stores.catalog.commit([], {}, [LifeSign(second.writer_id, NOW - 3000, False)])
    run = stand.run("run")
    assert (run["state"], session(run, "rank_2")["state"]) == ("running", "crashed")
    assert "silent since" in session(run, "rank_2")["reason"]


def test_without_a_primary_the_run_lives_while_any_writer_does(stand: Stand) -> None:
    first, second = writer(1), writer(2)
    first.exit(3, at=40.0, reason="exit code 3")
    stand.push([*first.batches(), *second.batches()])
    assert stand.run("run")["state"] == "running"
    second.exit(0, at=50.0)
    stand.push([second.batch(second.last_seq, second.last_seq)])
    run = stand.run("run")
    assert (run["state"], run["reason"]) == ("failed", "rank_1 on host: exit code 3")


def test_without_a_primary_the_run_is_silent_since_the_last_of_its_writers_is(stand: Stand) -> None:
    first, second = writer(1), writer(2)
    stand.push([*first.batches(), *second.batches()])
    stand.as_if_started_at(NOW - 4000)
    signs = [
        LifeSign(first.writer_id, NOW - 1000, False),
        LifeSign(second.writer_id, NOW - 200, False),
    ]
    stand.stores.catalog.commit([], {}, signs)
    assert stand.run("run")["offline_since"] == NOW - 200


def test_of_two_primaries_the_newest_holds_the_state_and_both_are_told(stand: Stand) -> None:
    first, second = writer(1, primary=True), writer(2, primary=True)
    stand.push([*first.batches(), *second.batches()])
    assert (
        "2 of its writers are primary (rank_2 on host, rank_1 on host)"
        in (stand.run("run")["problems"][0])
    )
    second.exit(0, at=50.0)
    stand.push([second.batch(second.last_seq, second.last_seq)])
    run = stand.run("run")
    assert (run["state"], run["problems"]) == ("finished", [])


def test_a_writer_that_starts_again_is_no_longer_told_as_dead(stand: Stand) -> None:
    first, second = writer(1, primary=True), writer(2)
    again = writer(3, label="rank_2")
    stand.push([*first.batches(), *second.batches(), *death(second, at=50.0), *again.batches()])
    run = stand.run("run")
    assert (run["problems"], run["labels"]) == ([], ["rank_1", "rank_2"])
    assert [row["values"]["common"] for row in stand.rows("run")] == [1, 2, 3, 1, 2, 3]


def test_writers_join_the_ordinary_run_that_had_the_name(stand: Stand) -> None:
    earlier = simple_run(1, row_count=3)
    earlier.config(1.0, lr=0.1)
    earlier.exit(0, at=5.0)
    joined = writer(7, primary=True)
    for order in itertools.permutations([earlier, joined]):
        for stream in order:
            stand.push(stream.batches())
    run = stand.run("run")
    assert (run["state"], run["rows"], run["archived"], run["config"]) == (
        "running",
        5,
        [],
        {"lr": 0.1},
    )
    assert run["lineage"][0]["kind"] == "continued"
    assert run["kind"] == "shared"


def test_an_entity_spelled_in_two_ways_still_makes_one_run(stand: Stand) -> None:
    unnamed, named = writer(1, branch_id="s1"), writer(2, branch_id="s2", entity="local")
    stand.push([*named.batches(), *unnamed.batches()])
    run = stand.run("run")
    assert (run["rows"], run["archived"], run["problems"]) == (4, [], [])
    assert run["labels"] == ["rank_1", "rank_2"]


def test_an_ordinary_session_that_takes_the_name_archives_the_shared_run(stand: Stand) -> None:
    stand.push([*writer(1, primary=True).batches(), *simple_run(9, row_count=1).batches()])
    run = stand.run("run")
    assert (run["immutable_id"], run["archived"], run["rows"]) == ("b", ["shared"], 1)
    assert "kept as shared" in run["problems"][0]


def test_a_writer_that_did_not_hear_of_a_rewind_is_told(stand: Stand) -> None:
    first, late = writer(1, primary=True), writer(2, started_at=90.0)
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="shared", step=0)
    first.rewind("rewound", at=80.0, point=point)
    first.row(1, {"k1": 10})
    stand.push([*first.batches(), *late.batches()])
    run = stand.run("run")
    assert (run["immutable_id"], run["archived"]) == ("rewound", ["shared"])
    assert "rank_2 on host did not hear of the rewind" in run["problems"][0]


def test_a_writer_that_ended_before_a_rewind_is_no_problem(stand: Stand) -> None:
    first, second = writer(1, primary=True), writer(2)
    second.exit(0, at=70.0)
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="shared", step=0)
    first.rewind("rewound", at=80.0, point=point)
    stand.push([*first.batches(), *second.batches()])
    run = stand.run("run")
    assert (run["problems"], run["rows"]) == ([], 2)


def test_config_of_writers_is_merged_by_the_time_it_was_set(stand: Stand) -> None:
    first, second = writer(1, primary=True), writer(2)
    first.config(1.0, lr=1, mine=1)
    second.config(2.0, lr=2)
    first.config(30.0, lr=3)
    first.config(20.0, lr=4)  # its clock went back: its own order holds
    second.config(25.0, lr=5)
    stand.push([*second.batches(), *first.batches()])
    assert stand.run("run")["config"] == {"lr": 4, "mine": 1}


def test_a_label_picks_its_writers_rows_keys_and_curves(stand: Stand) -> None:
    stand.push([*writer(1, primary=True, rows=50).batches(), *writer(2, rows=50).batches()])
    rows = stand.rows("run", label="rank_2")
    assert [row["values"]["common"] for row in rows] == [2] * 50
    assert [row["step"] for row in stand.rows("run", label="rank_2", limit=7)] == list(range(50))
    assert stand.reader.rows.keys("-", "proj", "run", label="rank_1") == ["common", "k1"]
    where = ("-", "proj", "run")
    found = stand.reader.rows.buckets(
        where, ["common"], number=2, step_min=None, step_max=None, label="rank_2"
    )
    assert [(b.count, b.mean) for b in found.buckets] == [(25, 2.0), (25, 2.0)]
    stand.push(writer(3, rows=0).batches())
    assert stand.rows("run", label="rank_3") == []
    with pytest.raises(BadRequestError, match="there are: rank_1, rank_2, rank_3"):
        stand.rows("run", label="rank_9")


def test_a_fork_of_a_shared_run_has_the_rows_of_all_writers(stand: Stand) -> None:
    child = Stream(writer_id(9))
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="shared", step=0)
    child.opened("proj", "child", "c", started_at=60.0, forked=point)
    child.row(1, {"own": 1})
    stand.push([*child.batches(), *writer(1, primary=True).batches(), *writer(2).batches()])
    run = stand.run("child")
    assert (run["rows"], run["labels"], run["problems"]) == (3, ["rank_1", "rank_2"], [])
    assert [row["label"] for row in stand.rows("child")] == ["rank_1", "rank_2", ""]


@pytest.mark.parametrize("parts", [1, 9])
def test_pages_of_any_size_hold_what_one_page_holds(stand: Stand, parts: int) -> None:
    """Also of rows of many parts, of keys that few rows have, and of ranges without a row."""
    streams = [writer(number, rows=0) for number in (1, 2)]
    for number, stream in enumerate(streams):
        for step in range(0, 30, number + 1):
            for part in range(parts):
                stream.row(step, {f"p{part}": step} | ({"rare": 1} if step % 14 == 0 else {}))
    stand.push([batch for stream in streams for batch in stream.batches()])
    for asked in ({}, {"metrics": ["rare"]}, {"step_max": 11}, {"step_min": 7}):
        whole = stand.rows("run", **asked)
        for limit in (3, 7):
            assert stand.rows("run", limit=limit, **asked) == whole
    assert len(stand.rows("run")) == 45
    assert len(stand.rows("run", metrics=["rare"])) == 6
    assert (stand.rows("run", step_max=-1), stand.rows("run", step_min=30)) == ([], [])
