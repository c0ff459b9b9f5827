"""Files of runs at a W&B server: whole, once, and never in the way of rows."""

from __future__ import annotations

import pytest
import pytest_asyncio
from daemon.upstream_wandb.desks import Desk, add_file, files_of, opened, outgoing
from server.streams import Stream

from harness.wandb_stub import WandbStub
from kelt_daemon.errors import NotYetError, UpstreamError
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
    assert list(run.files) == ["good"]
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
    assert (run.files, run.exit_code) == ({"a": CONTENT}, 3)
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
