"""What a W&B server has after pushes that went well, badly, twice, and to another daemon."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from daemon.upstream_wandb.desks import (
    Desk,
    add_line,
    add_sample,
    opened,
    outgoing,
    witness_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.streams import Stream

from harness.amounts import amount
from harness.wandb_stub import HISTORY, SUMMARY, Request, WandbStub
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import NotYetError, RefusedError, RunRefusedError, UpstreamError
from kelt_daemon.upstream import Access
from kelt_daemon.upstream.wandb.progress_file import progress_path
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import FLAG_PARTIAL, FLAG_RELATIVE_STEP
from kelt_proto.v1.upstream_pb2 import DescribeRunRequest

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(stub: WandbStub, tmp_path):
    async with Desk(stub, tmp_path) as desk:
        yield desk


def rows_of(run_id: str, number: int, count: int, *, ends: bool = True) -> Stream:
    stream = opened(number, run_id)
    for step in range(count):
        stream.row(step, {"x": step + 0.5}, timestamp=100.0 + step)
    if ends:
        stream.exit(0, at=1.0)
    return stream


def xs(stub: WandbStub, run_id: str) -> list[float]:
    return [row["x"] for row in stub.rows(run_id)]


class Faults:
    """Each of these happens once, to requests of a kind."""

    def __init__(self, *, kind: str, faults: list[object]) -> None:
        self.kind, self.left = kind, list(faults)

    def __call__(self, request: Request) -> object:
        return self.left.pop(0) if self.left and request.kind == self.kind else None


@pytest.mark.parametrize("kind", ["file_stream", "upsertBucket"])
async def test_whatever_an_answer_is_no_row_is_lost_or_doubled(desk, stub, kind):
    faults = [500, 503, 404, 409, (429, {"Retry-After": "0"}), 410, "cut", "lose", "hang"]
    stub.fault = Faults(kind=kind, faults=faults)
    desk.config = DaemonConfig(call_deadline_s=0.6, push_deadline_s=0.6)
    await desk.restart()
    await desk.connect()
    stream = desk.add(rows_of("r", 1, 9), "r")
    assert await desk.ship(stream, ends=range(2, 11), tries=100) == stream.last_seq
    assert len(desk.errors) >= len(faults)
    assert xs(stub, "r") == [step + 0.5 for step in range(9)]
    assert (stub.run("r").exit_code, stub.run("r").completed) == (0, 1)


async def test_how_long_to_wait_is_taken_from_the_server(desk, stub):
    stub.fault = Faults(kind="file_stream", faults=[(429, {"Retry-After": "7"})])
    await desk.connect()
    stream = desk.add(rows_of("r", 1, 1), "r")
    with pytest.raises(NotYetError) as raised:
        await desk.server.push([outgoing(stream, 1, stream.last_seq)])
    assert raised.value.retry_after_s == 7.0


async def test_a_daemon_killed_between_the_post_and_its_note_of_it_doubles_nothing(desk, stub):
    await desk.connect()
    stream = desk.add(rows_of("r", 1, 6), "r")
    path = progress_path(desk.queue[stream.writer_id].home, stub.url)
    for last_seq in range(1, stream.last_seq + 1):
        before = path.read_bytes() if path.exists() else None
        await desk.ship(stream, last_seq=last_seq)
        # As if what it wrote after the post had never been written.
        path.unlink() if before is None else path.write_bytes(before)
        await desk.restart()
        await desk.connect()
        await desk.ship(stream, last_seq=last_seq)
    assert xs(stub, "r") == [step + 0.5 for step in range(6)]


async def test_a_run_sent_again_without_any_note_lies_where_it_lay(desk, stub, tmp_path):
    await desk.connect()
    stream = desk.add(rows_of("r", 1, 6), "r")
    await desk.ship(stream)
    progress_path(desk.queue[stream.writer_id].home, stub.url).write_text("damaged")
    await desk.restart()
    await desk.connect()
    await desk.ship(stream, ends=(3, 5))
    assert xs(stub, "r") == [step + 0.5 for step in range(6)]


async def test_a_run_counts_as_there_once_its_end_was_acknowledged(desk, stub):
    stub.fault = lambda r: 503 if r.body.get("complete") else None
    await desk.connect()
    stream = desk.add(rows_of("r", 1, 3), "r")
    assert await desk.ship(stream, ends=(4,), tries=5) == 4
    stub.fault = None
    assert await desk.ship(stream) == 5
    assert stub.run("r").exit_code == 0


async def test_a_refused_key_is_said_so(desk, stub):
    with pytest.raises(RefusedError, match="WANDB_API_KEY"):
        await desk.server.connect(Access(api_key="x" * 40))
    stub.fault = lambda r: 403 if r.kind == "file_stream" else None
    await desk.connect()
    stream = desk.add(rows_of("r", 1, 3), "r")
    with pytest.raises(RunRefusedError, match="someone/p/r"):
        await desk.server.push([outgoing(stream, 1, stream.last_seq)])


async def test_a_fork_waits_for_what_it_inherits(desk, stub):
    await desk.connect()
    point = record_pb2.BranchPoint(project="p", run_id="parent", branch_id="b-parent", step=3)
    parent = desk.add(rows_of("parent", 2, 6), "parent")
    child = opened(1, "child", forked=point)
    child.row(4, {"x": 100})
    child.exit(0, at=1.0)
    desk.add(child, "child")
    with pytest.raises(NotYetError, match="p/child waits until p/parent"):
        await desk.server.push([outgoing(child, 1, 3)])
    await desk.ship(parent, last_seq=4)  # up to step 2
    with pytest.raises(NotYetError):
        await desk.server.push([outgoing(child, 1, 3)])
    await desk.ship(parent, last_seq=5)
    assert await desk.ship(child) == 3
    assert xs(stub, "child") == [0.5, 1.5, 2.5, 3.5, 100]
    assert (
        not stub.of_kind("file_stream", "child")[0].at < stub.of_kind("file_stream", "parent")[0].at
    )


async def test_a_run_goes_back_once_its_forks_have_what_they_inherit_of_it(desk, stub):
    await desk.connect()
    parent = rows_of("r", 1, 5, ends=False)
    parent.row(4, {"y": 1}, flags=FLAG_PARTIAL)  # its row is open when it goes back
    point = record_pb2.BranchPoint(project="p", run_id="r", branch_id="b-r", step=1)
    parent.rewind("b2", at=10.0, point=point)
    parent.row(2, {"x": 100})
    parent.exit(0, at=11.0)
    desk.add(parent, "r")
    forks = {}
    for number, (run_id, branch, step) in {
        2: ("before", "b-r", 4), 3: ("below", "b-r", 0), 20: ("after", "b2", 2),
    }.items():  # fmt: skip
        at = record_pb2.BranchPoint(project="p", run_id="r", branch_id=branch, step=step)
        forks[run_id] = opened(number, run_id, forked=at)
        forks[run_id].row(step + 1, {"x": -1})
        forks[run_id].exit(0, at=1.0)
        desk.add(forks[run_id], run_id)
    before = forks["before"].writer_id
    queued = desk.queue.pop(before)
    with pytest.raises(NotYetError, match="p/after waits"):
        await desk.server.push([outgoing(forks["after"], 1, 3)])
    with pytest.raises(NotYetError, match="p/r goes back once p/below"):
        await desk.server.push([outgoing(parent, 1, parent.last_seq)])
    await desk.ship(forks["below"])
    desk.unseen[before] = queued  # its folder lies there, and was not found yet
    with pytest.raises(NotYetError, match="p/r goes back once p/before"):
        await desk.server.push([outgoing(parent, 1, parent.last_seq)])
    with pytest.raises(NotYetError, match="p/after waits"):
        await desk.server.push([outgoing(forks["after"], 1, 3)])
    await desk.ship(forks["before"])
    await desk.ship(parent)
    await desk.ship(forks["after"])
    assert xs(stub, "before") == [0.5, 1.5, 2.5, 3.5, 4.5, -1]
    assert xs(stub, "below") == [0.5, -1]
    assert xs(stub, "after") == [0.5, 1.5, 100, -1]
    assert xs(stub, "r") == [0.5, 1.5, 100]


async def test_what_a_run_follows_on_goes_first_though_its_folder_was_not_noticed_yet(desk, stub):
    await desk.connect()
    runs = {"r": rows_of("r", 1, 5)}
    point = record_pb2.BranchPoint(project="p", run_id="r", branch_id="b-r", step=2)
    runs["child"] = opened(2, "child", forked=point)
    runs["child"].row(3, {"x": -1})
    runs["again"] = opened(3, "r", resumed=record_pb2.Resumed(last_step=4))
    runs["again"].row(5, {"x": -2})
    for name, stream in runs.items():
        desk.add(stream, "child" if name == "child" else "r")
    parent = desk.queue.pop(runs["r"].writer_id)
    for name in ("child", "again"):
        desk.unseen = {parent.writer_id: parent}
        with pytest.raises(NotYetError, match="waits until p/r, on which it follows"):
            await desk.server.push([outgoing(runs[name], 1, runs[name].last_seq)])
        desk.queue.pop(parent.writer_id)
    desk.queue[parent.writer_id] = parent
    for stream in runs.values():
        await desk.ship(stream)
    assert xs(stub, "child") == [0.5, 1.5, 2.5, -1]
    assert xs(stub, "r") == [0.5, 1.5, 2.5, 3.5, 4.5, -2]


async def test_a_fork_of_a_run_that_is_held_back_says_which(desk, stub):
    await desk.connect()
    point = record_pb2.BranchPoint(project="p", run_id="parent", step=3)
    desk.add(rows_of("parent", 1, 6), "parent", is_held=True)
    child = desk.add(opened(2, "child", forked=point), "child")
    with pytest.raises(RunRefusedError, match="p/parent, which cannot be sent before it"):
        await desk.server.push([outgoing(child, 1, 1)])


async def test_a_session_waits_for_the_one_before_it_and_goes_on_behind_its_lines(desk, stub):
    await desk.connect()
    first = desk.add(rows_of("r", 1, 3), "r")
    second = opened(2, "r", resumed=record_pb2.Resumed(point_unknown=True, mode="must"))
    second.row(0, {"x": 9}, flags=1)  # counts from the end of what is not known here
    second.exit(0, at=1.0)
    desk.add(second, "r")
    with pytest.raises(NotYetError):
        await desk.server.push([outgoing(second, 1, 3)])
    await desk.ship(first)
    desk.change(first, is_through=True)
    await desk.ship(second)
    assert xs(stub, "r") == [0.5, 1.5, 2.5, 9]
    assert [row["_step"] for row in stub.rows("r")] == [0, 1, 2, 3]


async def test_a_run_goes_back_in_mid_session(desk, stub):
    await desk.connect()
    stream = rows_of("r", 1, 5, ends=False)
    stream.config(1.0, lr=0.5)
    stream.rewind("b2", at=2.0, point=record_pb2.BranchPoint(project="p", run_id="r", step=2))
    stream.row(3, {"x": 100, "y": 1})
    stream.exit(0, at=3.0)
    desk.add(stream, "r")
    await desk.ship(stream, ends=(4, 7))
    assert xs(stub, "r") == [0.5, 1.5, 2.5, 100]
    assert [row and row["x"] for row in stub.run("r").cut_off] == [3.5, 4.5]
    upserts = [json.loads(r.body["variables"]["config"]) for r in stub.of_kind("upsertBucket")]
    assert upserts[-1]["_wandb"]["value"]["branch_point"] == {"run_id": "r", "step": 2}
    assert upserts[-1]["lr"] == {"value": 0.5}
    assert stub.run("r").exit_code == 0


@pytest.mark.parametrize("kind", ["model", "rewindRun", "upsertBucket", "file_stream"])
@pytest.mark.parametrize("fault", ["lose", 503])
async def test_sessions_that_follow_on_others_begin_once_though_answers_are_lost(
    desk, stub, kind, fault
):
    await desk.connect()
    for number, run_id in enumerate(("parent", "again", "back"), start=1):
        first = desk.add(rows_of(run_id, number, 4), run_id)
        await desk.ship(first)
        desk.change(first, is_through=True)
    point = record_pb2.BranchPoint(project="p", run_id="parent", step=2)
    back = record_pb2.BranchPoint(project="p", run_id="back", step=1)
    later = {
        "child": opened(11, "child", forked=point),
        "again": opened(12, "again", resumed=record_pb2.Resumed(last_step=3)),
        "back": opened(13, "back", rewound=back),
    }
    for step, (run_id, stream) in zip((3, 4, 2), later.items(), strict=True):
        stub.fault = Faults(kind=kind, faults=[fault, None, fault])
        stream.row(step, {"x": 100})
        stream.exit(0, at=1.0)
        await desk.ship(desk.add(stream, run_id), ends=(2,))
    assert xs(stub, "child") == [0.5, 1.5, 2.5, 100]
    assert xs(stub, "again") == [0.5, 1.5, 2.5, 3.5, 100]
    assert xs(stub, "back") == [0.5, 1.5, 100]
    assert [stub.run(run_id).exit_code for run_id in later] == [0, 0, 0]


async def test_a_run_that_goes_on_elsewhere_is_not_ended_to_go_back_in_it(desk, stub):
    await desk.connect()
    first = desk.add(rows_of("r", 1, 4, ends=False), "r")
    await desk.ship(first)
    desk.change(first, is_through=True)
    point = record_pb2.BranchPoint(project="p", run_id="r", step=1)
    second = desk.add(opened(2, "r", rewound=point), "r")
    for _ in range(2):
        with pytest.raises(RunRefusedError, match="running"):
            await desk.server.push([outgoing(second, 1, 1)])
    assert stub.run("r").exit_code is None


async def test_a_row_is_sent_once_it_is_whole(desk, stub):
    await desk.connect()
    stream = opened(1, "r")
    stream.row(0, {"x": 1})
    stream.row(1, {"x": 2}, flags=FLAG_PARTIAL)
    desk.add(stream, "r")
    assert await desk.ship(stream) == 2  # the open row is not said to be there
    assert stub.rows("r") == [{"x": 1, "_step": 0}]
    stream.row(1, {"y": 3})
    assert await desk.ship(stream) == 4
    assert stub.rows("r") == [{"x": 1, "_step": 0}, {"x": 2, "y": 3, "_step": 1}]


async def test_the_end_of_a_killed_writer_is_what_its_daemon_says(desk, stub):
    await desk.connect()
    stream = rows_of("r", 1, 2, ends=False)
    stream.row(2, {"x": 9}, flags=FLAG_PARTIAL)
    desk.add(stream, "r")
    await desk.ship(stream)
    witness = witness_of(stream)
    witness.record(
        Kind.ASSERTION,
        record_pb2.Assertion(
            writer_id=stream.writer_id, state=record_pb2.Assertion.CRASHED, signal=9,
            reason="killed by SIGKILL",
        ),
    )  # fmt: skip
    reply = await desk.server.push([outgoing(witness, 1, 1)])
    assert reply[witness.writer_id].committed_through == 1
    assert stub.run("r").exit_code == 137
    assert stub.run("r").config["kelt/ended_by"] == {"value": "killed by SIGKILL"}
    assert xs(stub, "r") == [0.5, 1.5, 9]


async def test_losses_rows_that_are_too_long_and_unknown_kinds_are_counted(desk, stub):
    await desk.connect()
    stream = rows_of("r", 1, 1, ends=False)
    stream.record(Kind.LOSS, record_pb2.Loss(rows=4, reason="no room"))
    stream.row(1, {"long": "\x01" * (2 * 1024 * 1024)})  # six times as long in JSON
    stream.record(200, b"what a later kelt writes")
    stream.row(2, {"x": 2})
    desk.add(stream, "r")
    assert await desk.ship(stream) == stream.last_seq
    assert [row["_step"] for row in stub.rows("r")] == [0, 2]
    config = stub.run("r").config
    assert config["kelt/lost_rows"] == {"value": 5}
    assert [reason.split()[0] for reason in config["kelt/losses"]["value"]] == ["no", "a"]


async def test_long_histories_go_in_several_posts(desk, stub):
    await desk.connect()
    stream = opened(1, "r")
    for step in range(3):
        stream.row(step, {"x": step, "text": "a" * (4 * 1024 * 1024)})
    desk.add(stream, "r")
    await desk.ship(stream)
    sent = [r.body["files"] for r in stub.of_kind("file_stream")]
    assert [len(files[HISTORY]["content"]) for files in sent] == [2, 1]
    assert [SUMMARY in files for files in sent] == [False, True]
    assert xs(stub, "r") == [0, 1, 2]


async def test_a_quiet_run_gives_a_sign_of_life_until_it_ends(desk, stub):
    desk.config = DaemonConfig(wandb_heartbeat_s=0.0)
    await desk.restart()
    await desk.connect()
    stream = rows_of("r", 1, 1, ends=False)
    desk.add(stream, "r")
    await desk.server.heartbeat([(stream.writer_id, False)])  # not begun: nobody to tell of
    await desk.ship(stream)
    assert await desk.server.heartbeat([(stream.writer_id, False)]) == []
    stub.run("r").is_stopped = True
    assert await desk.server.heartbeat([(stream.writer_id, False)]) == [stream.writer_id]
    assert stub.run("r").heartbeats == 2
    stream.exit(0, at=1.0)
    await desk.ship(stream)
    await desk.server.heartbeat([(stream.writer_id, False)])
    assert stub.run("r").heartbeats == 2


async def test_that_a_run_is_to_stop_is_heard_in_answers_to_posts(desk, stub):
    await desk.connect()
    streams = [desk.add(rows_of(run_id, n, 2), run_id) for n, run_id in enumerate("rq", start=1)]
    beats = [(stream.writer_id, False) for stream in streams]
    for stream in streams:
        await desk.ship(stream, last_seq=2)
    stub.run("r").is_stopped = True
    assert await desk.server.heartbeat(beats) == []  # nothing is posted yet
    await desk.ship(streams[0], last_seq=3)
    assert await desk.server.heartbeat(beats) == [streams[0].writer_id]


async def test_the_writers_of_a_shared_run_are_told_apart_and_the_primary_ends_it(desk, stub):
    await desk.connect()
    for number, is_primary in ((1, False), (2, True)):
        shared = record_pb2.Shared(label=f"rank_{number}", is_primary=is_primary)
        stream = opened(number, "r", created=record_pb2.Created(), shared=shared)
        stream.row(0, {"x": number})
        stream.exit(0, at=1.0)
        await desk.ship(desk.add(stream, "r"))
    posts = stub.of_kind("file_stream")
    clients = [r.headers["x-wandb-async-client-id"] for r in posts]
    assert len(set(clients)) == 2
    assert all(r.headers["x-wandb-use-async-filestream"] == "true" for r in posts)
    ends = [r.headers["x-wandb-async-client-id"] for r in posts if r.body.get("complete")]
    assert ends == clients[-1:]


async def test_a_run_that_lost_its_first_record_is_known_by_its_folder(desk, stub):
    await desk.connect()
    stream = opened(1, "elsewhere")
    stream.row(0, {"x": 1})
    desk.add(stream, "r")
    lost = Stream(stream.writer_id)
    lost.loss(stream.writer_id, 1, 1)
    await desk.server.push([outgoing(lost, 1, 1)])
    await desk.server.push([outgoing(stream, 2, 2)])
    assert xs(stub, "r") == [1]
    assert stub.run("r").config["kelt/lost_rows"] == {"value": 1}


async def test_a_session_that_lost_its_first_record_writes_over_no_line_of_the_one_before(
    desk, stub
):
    await desk.connect()
    first = desk.add(rows_of("r", 1, 3), "r")
    await desk.ship(first)
    desk.change(first, is_through=True)
    stream = opened(2, "r", resumed=record_pb2.Resumed(point_unknown=True))
    stream.row(0, {"x": 9}, flags=FLAG_RELATIVE_STEP)
    stream.exit(0, at=1.0)
    desk.add(stream, "r")
    lost = Stream(stream.writer_id)
    lost.loss(stream.writer_id, 1, 1)
    await desk.server.push([outgoing(lost, 1, 1)])
    await desk.ship(stream)
    assert xs(stub, "r") == [0.5, 1.5, 2.5, 9]
    assert [row["_step"] for row in stub.rows("r")] == [0, 1, 2, 3]


async def test_what_a_run_is_at_can_be_asked(desk, stub):
    await desk.connect()
    await desk.ship(desk.add(rows_of("r", 1, 3), "r"))
    request = DescribeRunRequest(project="p", run_id="r")
    found = await desk.server.describe_run(request, deadline_s=5)
    assert (found.exists, found.last_step, found.entity) == (True, 2, "someone")
    assert json.loads(found.summary_json) == {"x": 2.5}
    request = DescribeRunRequest(project="p", run_id="no")
    assert not (await desk.server.describe_run(request, deadline_s=5)).exists


PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("row"), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("config"), st.integers(0, 9), st.just(None)),
        st.tuples(st.just("console"), st.integers(0, 3), st.just(None)),
        st.tuples(st.just("system"), st.just(0), st.just(None)),
        st.tuples(st.just("rewind"), st.integers(0, 9), st.just(None)),
    ),
    max_size=12,
)


@settings(
    max_examples=amount(15, long=200), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(parts=PARTS, ends=st.sets(st.integers(1, 14)), faults=st.sets(st.integers(0, 40)))
async def test_however_pushes_are_cut_and_fail_the_lines_are_those_of_the_script(
    tmp_path_factory, stub, parts, ends, faults
):
    stub.runs.clear()
    stream, step, expected = opened(1, "r"), 0, {}
    console, samples = {}, []
    for number, (what, size, is_partial) in enumerate(parts):
        if what == "row":
            step += size
            flags = FLAG_PARTIAL if is_partial else 0
            stream.row(step, {f"k{number % 3}": number}, flags=flags, timestamp=float(number))
            expected.setdefault(step, {"_step": step})[f"k{number % 3}"] = number
        elif what == "config":
            stream.config(float(number), value=size)
        elif what == "console":
            add_line(stream, size, str(number))
            console[size] = str(number)
        elif what == "system":
            add_sample(stream, 1.0 + number, cpu=number)
            samples.append(number)
        elif expected and size <= step:
            console, samples = {}, []
            stream.rewind(f"b{number}", at=1.0, point=record_pb2.BranchPoint(run_id="r", step=size))
            expected = {at: row for at, row in expected.items() if at <= size}
            step = size + 1
    stream.exit(0, at=1.0)
    asked = iter(range(10_000))
    stub.fault = lambda _: (503, "lose", "cut")[n % 3] if (n := next(asked)) in faults else None
    async with Desk(stub, tmp_path_factory.mktemp("desk")) as desk:
        desk.add(stream, "r")
        await _connected(desk)
        for end in sorted({end for end in ends if end < stream.last_seq}):
            await _shipped(desk, stream, end)
            await desk.restart()
            await _connected(desk)
        await _shipped(desk, stream, stream.last_seq)
    assert stub.rows("r") == list(expected.values())
    run = stub.run("r")
    assert {number: line for number, line in enumerate(run.console) if line} == console
    assert [sample["cpu"] for sample in run.events] == samples
    assert run.exit_code == 0


async def _connected(desk: Desk) -> None:
    for _ in range(50):
        try:
            return await desk.connect()
        except UpstreamError:  # a fault that was drawn
            continue
    raise AssertionError("never connected")


async def _shipped(desk: Desk, stream: Stream, last_seq: int) -> None:
    for _ in range(60):
        known = (await desk.server.cursors([stream.writer_id]))[stream.writer_id]
        if known >= last_seq:
            return
        try:
            reply = await desk.server.push([outgoing(stream, known + 1, last_seq)])
        except UpstreamError:  # a fault that was drawn
            await _connected(desk)
            continue
        if reply[stream.writer_id].committed_through < last_seq:
            return  # an open row
    raise AssertionError("never through")
