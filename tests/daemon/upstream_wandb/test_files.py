"""Files of runs at a W&B server: whole, once, and never in the way of rows."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from daemon.upstream_wandb.desks import Desk, add_file, files_of, opened, outgoing
from server.streams import Stream

from harness.wandb_stub import WandbStub
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import NotYetError, UpstreamError
from kelt_daemon.upstream.wandb import wandb_server
from kelt_daemon.upstream.wandb.file_pieces import MADE_NAMES, TRIES_MAX
from kelt_daemon.upstream.wandb.progress_file import progress_path
from kelt_proto.v1 import record_pb2

pytestmark = pytest.mark.asyncio
CONTENT = bytes(range(256))


@pytest_asyncio.fixture
async def desk(stub: WandbStub, tmp_path):
    async with Desk(stub, tmp_path) as desk:
        await desk.connect()
        yield desk


async def begun(desk: Desk, *, ends: bool = False) -> tuple[Stream, Stream]:
    """A run with a row at the server, and the writer of its files."""
    stream = desk.add(opened(1, "r"), "r")
    stream.row(0, {"x": 0})
    if ends:
        stream.exit(3, at=1.0)
    await desk.ship(stream)
    return stream, files_of(stream)


def left_behind(desk: Desk, stream: Stream) -> list[str]:
    return [path.name for path in desk.queue[stream.writer_id].home.glob("*.part")]


async def test_files_are_put_whole_without_the_key_and_told(desk, stub):
    stream, files = await begun(desk)
    add_file(files, "media/images/é a.bin", CONTENT)
    add_file(files, "empty", b"")
    assert await desk.ship(files, ends=range(1, 5)) == files.last_seq
    run = stub.run("r")
    assert run.files == {"media/images/é a.bin": CONTENT, "empty": b""}
    assert run.uploaded == ["media/images/é a.bin", "empty"]
    puts = stub.of_kind("upload")
    assert all("authorization" not in put.headers for put in puts)
    assert [(put.headers["x-said"], put.headers["content-length"]) for put in puts] == [
        ("by W&B: so", "256"), ("by W&B: so", "0"),
    ]  # fmt: skip
    assert not left_behind(desk, stream)


@pytest.mark.parametrize("kind", ["createRunFiles", "upload", "file_stream"])
async def test_whatever_an_answer_is_a_file_arrives_and_rows_go_meanwhile(desk, stub, kind):
    stream, files = await begun(desk)
    add_file(files, "a", CONTENT)
    faults = [503, "cut", "lose", (429, {"Retry-After": "0"})]
    stub.fault = lambda r: faults.pop(0) if faults and r.kind == kind else None
    await desk.ship(files)
    assert not faults
    assert stub.run("r").files == {"a": CONTENT}
    stub.fault = lambda r: 503 if r.kind == "upload" else None
    add_file(files, "b", CONTENT)
    for step in (1, 2):
        stream.row(step, {"x": step})
        with pytest.raises(NotYetError, match="rows go meanwhile"):
            await desk.server.push([
                outgoing(stream, stream.last_seq, stream.last_seq),
                outgoing(files, files.last_seq - 2, files.last_seq),
            ])  # fmt: skip
        assert len(stub.rows("r")) == step + 1
    cursors = await desk.server.cursors([files.writer_id])
    assert cursors[files.writer_id] == files.last_seq - 1  # nobody is told that it is there


async def test_a_file_that_is_refused_for_what_it_is_is_told_as_lost(desk, stub):
    _, files = await begun(desk, ends=True)
    add_file(files, "bad", CONTENT)
    add_file(files, "good", CONTENT[:9])
    stub.fault = lambda r: 413 if r.kind == "upload" and len(r.content) > 9 else None
    assert await desk.ship(files) == files.last_seq
    run = stub.run("r")
    assert [name for name in run.files if name not in MADE_NAMES] == ["good"]
    assert run.config["kelt/lost_files"] == {"value": 1}
    assert "kelt/lost_rows" not in run.config
    (reason,) = run.config["kelt/losses"]["value"]
    assert reason.startswith("the file 'bad': HTTP status 413")


async def test_a_server_without_files_costs_the_files(desk, stub):
    _, files = await begun(desk)
    add_file(files, "a", CONTENT)
    refused = (400, {})
    stub.fault = lambda r: refused if r.kind == "createRunFiles" else None
    assert await desk.ship(files) == files.last_seq
    assert "the file 'a'" in stub.run("r").config["kelt/losses"]["value"][0]


async def test_what_is_damaged_or_has_a_hole_is_not_sent(desk, stub):
    _, files = await begun(desk)
    add_file(files, "damaged", CONTENT, version=b"\x01" * 32)
    add_file(files, "holed", CONTENT * 2, hole=100)
    add_file(files, "whole", CONTENT)
    assert await desk.ship(files) == files.last_seq
    run = stub.run("r")
    assert run.files == {"whole": CONTENT}
    assert run.config["kelt/lost_files"] == {"value": 2}
    assert sorted(run.config["kelt/losses"]["value"]) == [
        "the file 'damaged': it is damaged, or gone, on this host",
        "the file 'holed': pieces of it are missing",
    ]


async def test_a_daemon_killed_at_any_note_sends_each_file_whole(desk, stub):
    stream, files = await begun(desk)
    add_file(files, "a", CONTENT)
    add_file(files, "a", CONTENT[::-1])
    path = progress_path(desk.queue[stream.writer_id].home, stub.url)
    for last_seq in range(1, files.last_seq + 1):
        before = path.read_bytes()
        await desk.ship(files, last_seq=last_seq)
        path.write_bytes(before)  # as if what it wrote had never been written
        await desk.restart()
        await desk.connect()
        await desk.ship(files, last_seq=last_seq)
    assert stub.run("r").files == {"a": CONTENT[::-1]}
    assert not left_behind(desk, stream)


async def test_pieces_that_come_before_the_run_wait_for_it(desk, stub):
    stream = desk.add(opened(1, "r"), "r")
    files = files_of(stream)
    add_file(files, "a", CONTENT)
    await desk.server.push([outgoing(files, 1, files.last_seq)])
    assert not stub.of_kind("upload")
    await desk.ship(stream)
    assert stub.run("r").files == {"a": CONTENT}
    assert (await desk.server.cursors([files.writer_id]))[files.writer_id] == files.last_seq


async def test_the_files_of_a_run_that_has_ended_go_without_another_post(desk, stub):
    _, files = await begun(desk, ends=True)
    add_file(files, "a", CONTENT)
    posts = len(stub.of_kind("file_stream"))
    await desk.ship(files)
    run = stub.run("r")
    assert (run.files["a"], run.exit_code) == (CONTENT, 3)
    assert len(stub.of_kind("file_stream")) == posts


async def test_a_session_waits_for_no_file_of_the_one_before_it(desk, stub):
    _, files = await begun(desk, ends=True)
    add_file(files, "a", CONTENT)
    stub.fault = lambda r: 503 if r.kind == "upload" else None
    with pytest.raises(NotYetError):
        await desk.server.push([outgoing(files, 1, files.last_seq)])
    later = opened(2, "r", resumed=record_pb2.Resumed(last_step=0))
    later.row(1, {"x": 1})
    await desk.ship(desk.add(later, "r"))
    assert [row["x"] for row in stub.rows("r")] == [0, 1]


async def test_no_file_is_put_where_w_and_b_says_no_whole_address(desk, stub, monkeypatch):
    _, files = await begun(desk)
    said = {"createRunFiles": {"uploadHeaders": [], "files": [{"name": "a", "uploadUrl": "/up"}]}}
    monkeypatch.setattr(stub, "_create_files", lambda _: {"data": said})
    add_file(files, "a", CONTENT)
    with pytest.raises(UpstreamError, match="no whole address"):
        await desk.server.push([outgoing(files, 1, files.last_seq)])


async def test_the_versions_of_a_file_keep_their_order_though_one_is_put_off(desk, stub):
    _, files = await begun(desk)
    faults = [503]
    stub.fault = lambda r: faults.pop() if faults and r.kind == "upload" else None
    for content in (CONTENT, CONTENT[::-1], CONTENT):
        add_file(files, "a", content)
    add_file(files, "b", CONTENT)
    assert await desk.ship(files) == files.last_seq
    assert [len(r.content) for r in stub.of_kind("upload")] == [256] * 4  # the first A once
    assert stub.run("r").files == {"a": CONTENT, "b": CONTENT}


async def test_rows_far_behind_a_file_that_waits_do_not_wait(desk, stub):
    stream, files = await begun(desk)
    stub.fault = lambda r: 503 if r.kind == "upload" else None
    for number in range(5):
        add_file(files, f"f{number}", CONTENT)
        with pytest.raises(NotYetError):
            await desk.server.push([outgoing(files, files.last_seq - 2, files.last_seq)])
        cursors = await desk.server.cursors([files.writer_id])
        assert cursors[files.writer_id] == files.last_seq - 1
    stub.fault = None
    await desk.server.push([outgoing(files, files.last_seq, files.last_seq)])
    assert sorted(stub.run("r").files) == [f"f{number}" for number in range(5)]
    assert not left_behind(desk, stream)


async def test_a_run_lives_while_a_large_file_of_it_goes_and_holds_up_others_for_a_while_alone(
    desk, stub, monkeypatch
):
    monkeypatch.setattr(wandb_server, "_SENDERS_MAX", 1)
    monkeypatch.setattr(wandb_server, "_SENDER_WAIT_S", 0.01)
    desk.config = DaemonConfig(wandb_heartbeat_s=0.0)
    await desk.restart()
    await desk.connect()
    stream, files = await begun(desk)
    other = desk.add(opened(2, "s"), "s")
    other.row(0, {"x": 0})
    others = files_of(other)
    add_file(others, "b", CONTENT)
    add_file(files, "a", CONTENT)
    put, beats = desk.server.put, [(stream.writer_id, False)]

    async def slow(*said):
        await desk.server.heartbeat(beats)
        with pytest.raises(NotYetError, match="those of other runs"):
            await desk.server.push([outgoing(other, 1, 2), outgoing(others, 1, others.last_seq)])
        await put(*said)

    monkeypatch.setattr(desk.server, "put", slow)
    await desk.server.push([outgoing(files, 1, files.last_seq)])
    monkeypatch.setattr(desk.server, "put", put)
    assert stub.run("r").heartbeats == 1
    assert [row["x"] for row in stub.rows("s")] == [0]
    await desk.ship(others)
    assert (stub.run("r").files, stub.run("s").files) == ({"a": CONTENT}, {"b": CONTENT})


async def test_files_of_a_later_session_go_behind_those_of_the_one_before(desk, stub):
    first, old = await begun(desk, ends=True)
    add_file(old, "a", CONTENT)
    stub.fault = lambda r: 503 if r.kind == "upload" else None
    with pytest.raises(NotYetError):
        await desk.server.push([outgoing(old, 1, old.last_seq)])
    later = desk.add(opened(2, "r", resumed=record_pb2.Resumed(last_step=0)), "r")
    new = files_of(later)
    add_file(new, "a", CONTENT[::-1])
    stub.fault = None
    await desk.ship(later)
    with pytest.raises(NotYetError, match="its session before"):
        await desk.server.push([outgoing(new, 1, new.last_seq)])
    await desk.ship(old)
    desk.change(first, is_through=True)
    await desk.ship(new)
    assert stub.run("r").files["a"] == CONTENT[::-1]


async def test_a_file_without_room_waits_with_what_follows_it_and_one_too_large_is_lost(
    stub, tmp_path
):
    config = DaemonConfig(wandb_files_bytes_max=len(CONTENT) + 1000)
    async with Desk(stub, tmp_path, config=config) as desk:
        await desk.connect()
        stream, files = await begun(desk)
        stub.fault = lambda r: 503 if r.kind == "upload" else None
        add_file(files, "large", CONTENT * 5)
        add_file(files, "a", CONTENT * 4)
        with pytest.raises(NotYetError, match="HTTP status 503"):
            await desk.server.push([outgoing(files, 1, files.last_seq)])
        second = desk.add(opened(2, "s"), "s")
        second.row(0, {"x": 0})
        seconds = files_of(second)
        add_file(seconds, "b", CONTENT)
        push = [outgoing(second, 1, 2), outgoing(seconds, 1, seconds.last_seq)]
        with pytest.raises(NotYetError, match="may on this host"):
            await desk.server.push(push)
        assert [row["x"] for row in stub.rows("s")] == [0]
        assert desk.room.met == 1
        assert not left_behind(desk, second)
        await desk.restart()  # the next daemon counts what lies there
        await desk.connect()
        await desk.server.cursors([files.writer_id])
        assert desk.room.used_bytes == len(CONTENT) * 4
        stub.fault = None
        await desk.ship(files)
        await desk.ship(seconds)
    assert "large" not in stub.run("r").files
    assert stub.run("r").files["a"] == CONTENT * 4
    assert stub.run("s").files["b"] == CONTENT
    (reason,) = stub.run("r").config["kelt/losses"]["value"]
    assert reason.startswith("the file 'large': its 1,280 bytes are more than")
    assert not left_behind(desk, stream)
    assert desk.room.used_bytes == 0


async def test_what_a_dead_daemon_left_of_files_is_removed(desk, stub):
    stream, files = await begun(desk)
    add_file(files, "a", CONTENT)
    await desk.server.push([outgoing(files, 1, 2)])
    (part,) = left_behind(desk, stream)
    (desk.queue[stream.writer_id].home / part.replace(part[-8:], "0.part")).write_bytes(b"left")
    await desk.restart()
    await desk.connect()
    await desk.server.cursors([stream.writer_id])
    assert left_behind(desk, stream) == [part]
    await desk.restart()
    desk.change(stream, is_through=True)  # its process died, and the file never becomes whole
    await desk.connect()
    await desk.server.cursors([stream.writer_id])
    assert not left_behind(desk, stream)


async def test_what_w_and_b_makes_of_a_run_is_there_when_its_end_is_told(desk, stub):
    stream, files = await begun(desk)
    stream.config(1.0, lr=0.5)
    add_file(files, "config.yaml", b"recorded")
    await desk.ship(files)
    stream.exit(0, at=1.0)
    await desk.ship(stream)
    run = stub.run("r")
    assert run.files["config.yaml"] == b"recorded"
    assert json.loads(run.files["wandb-summary.json"])["x"] == 0
    metadata = json.loads(run.files["wandb-metadata.json"])
    assert metadata == run.config["_wandb"]["value"]["e"][metadata["writerId"]]
    (end,) = [r.body for r in stub.of_kind("file_stream") if r.body.get("complete")]
    assert sorted(end["uploaded"]) == ["wandb-metadata.json", "wandb-summary.json"]
    assert not left_behind(desk, stream)


@pytest.mark.parametrize("fault", [503, 413])
async def test_what_is_made_of_a_run_is_given_up_and_its_end_told_at_once(desk, stub, fault):
    stream, _ = await begun(desk)
    stub.fault = lambda r: fault if r.kind == "upload" else None
    stream.exit(0, at=1.0)
    with pytest.raises(NotYetError):
        await desk.server.push([outgoing(stream, 3, 3)])
    assert stub.run("r").exit_code == 0
    assert await desk.ship(stream) == stream.last_seq
    assert len(desk.errors) < TRIES_MAX * len(MADE_NAMES)
    assert stub.run("r").completed == 1
    assert "kelt/lost_files" not in stub.run("r").config
    assert not left_behind(desk, stream)
