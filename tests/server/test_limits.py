"""What a server takes at most, and what it says beyond."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import grpc
import grpc.aio
import httpx
import psutil
import pytest
from server.stand import NOW, Stand, gate_of
from server.streams import Stream, simple_run, writer_id

from harness.stack import Reader, ServerProcess, eventually
from kelt_proto.v1 import record_pb2, upstream_pb2, upstream_pb2_grpc
from kelt_proto.v1.rows import FLAG_RELATIVE_STEP
from kelt_server.artifacts.receiving import ArtifactReceiver
from kelt_server.errors import StoreError
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.group import GroupCommitter
from kelt_server.ingest.name_limits import GroupNames, NameLimits
from kelt_server.ingest.service import UpstreamService

MIB = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = ServerProcess(tmp_path_factory.mktemp("limits"))
    process.start()
    yield process
    process.stop()


def stub_of(server, **options):
    channel = grpc.insecure_channel(
        f"127.0.0.1:{server.facts['grpc_port']}",
        options=[("grpc.max_send_message_length", 256 * MIB)],
        **options,
    )
    return upstream_pb2_grpc.UpstreamStub(channel), channel


def refused(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=60, **options)
    return error.value


def test_metadata_beyond_eight_kibibytes_is_refused(server):
    stub, channel = stub_of(server)
    hello = upstream_pb2.UpstreamHelloRequest(protocol=1)
    with channel:
        stub.Hello(hello, timeout=60, metadata=[("note", "x" * 4096)])
        error = refused(stub.Hello, hello, metadata=[("note", "x" * 10_000)])
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        stub.Hello(hello, timeout=60)


def test_messages_too_long_plain_or_unpacked_are_refused_and_cost_no_memory(server):
    """A hundred MiB of zeros, which travel as a hundred KiB."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    bomb = upstream_pb2.PushRequest(batches=[simple_run().batch(1, 2)])
    bomb.batches[0].frames = bytes(100 * MIB)
    for packed in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        stub, channel = stub_of(server)
        with channel:
            error = refused(stub.Push, bomb, compression=packed)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
            assert "larger than max" in error.details()
    assert process.memory_info().rss - before < 64 * MIB


def test_a_push_beyond_what_hello_named_is_refused_and_one_record_is_taken_in_any_size(server):
    stub, channel = stub_of(server)
    with channel:
        hello = stub.Hello(upstream_pb2.UpstreamHelloRequest(protocol=1), timeout=60)
        large = simple_run(7, run_id="large", branch_id="large")
        large.config(1.0, text="x" * 7 * MIB)
        alone = large.batch(1, large.last_seq)
        assert len(alone.frames) < hello.push_bytes_max
        error = refused(stub.Push, upstream_pb2.PushRequest(batches=[alone, alone]))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in error.details()
        (cursor,) = stub.Push(upstream_pb2.PushRequest(batches=[alone]), timeout=60).cursors
        assert cursor.committed_through == large.last_seq


def test_a_question_with_an_endless_head_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.facts["http_port"]), timeout=60) as asking:
        asking.sendall(b"GET /api/v1/info HTTP/1.1\r\nhost: x\r\nx: ")
        answer = b""
        with contextlib.suppress(OSError):
            for _ in range(64):
                asking.sendall(b"y" * 65536)
            asking.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            answer = asking.recv(65536)
    assert answer == b"" or b" 400 " in answer.splitlines()[0]
    assert httpx.get(server.url + "/api/v1/info", trust_env=False).status_code == 200


@asynccontextmanager
async def serving(stand: Stand, **bounds: int):
    """The real service on a port, with a committer that has not been started."""
    committer = Committer(
        stand.group,
        counters=stand.counters,
        group_bytes_max=MIB,
        **{"queue_bytes_max": 1, **bounds},
    )
    service = UpstreamService(
        committer=committer, reader=stand.reader, clock=lambda: NOW, server_id="s",
        gate=gate_of(), stops=stand.stores.catalog.stops, push_bytes_max=MIB,
        artifacts=cast("ArtifactReceiver", None), counters=stand.counters,  # nothing asks for them
    )  # fmt: skip
    server = grpc.aio.server()
    upstream_pb2_grpc.add_UpstreamServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield upstream_pb2_grpc.UpstreamStub(channel), committer
    await server.stop(None)


@pytest.mark.asyncio
async def test_a_full_queue_and_a_stopping_server_say_when_to_come_again(stand: Stand) -> None:
    stream = simple_run()
    async with serving(stand) as (stub, committer):
        first = stub.Push(upstream_pb2.PushRequest(batches=[stream.batch(1, 2)]), timeout=60)
        with anyio.fail_after(60):
            while not committer._queue:  # noqa: ASYNC110 # no event for it
                await anyio.sleep(0.01)
        await says_later(stub, stream)
        committer.stop()
        await says_later(stub, stream)
        await committer.run()
        assert (await first).cursors[0].committed_through == 2


async def says_later(stub: Any, stream: Stream) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Push(upstream_pb2.PushRequest(batches=[stream.batch(3, 4)]), timeout=60)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert float(dict(error.value.trailing_metadata())["retry-after"]) > 0


# -- metric names -----------------------------------------------------------------------------------


def limited(stand: Stand, names_max: int) -> Stand:
    group = GroupCommitter(
        catalog=stand.stores.catalog, metrics=stand.stores.metrics,
        objects=stand.stores.objects, clock=lambda: NOW, default_entity="local",
        counters=stand.counters, metric_names_max=names_max, noticed=stand.reader.notice,
    )  # fmt: skip
    return replace(stand, group=group)


def named_run(number: int, names: int, *, run_id: str = "run", branch_id: str = "b") -> Stream:
    """A run of whose rows each has a name of its own, and one that all have."""
    stream = simple_run(number, run_id=run_id, branch_id=branch_id, row_count=0)
    for i in range(names):
        stream.row(i, {"all": float(i), f"own-{i}": 1.0})
    return stream


def test_names_beyond_the_bound_are_left_out_and_the_run_shows_it(stand: Stand) -> None:
    small = limited(stand, 4)
    stream = named_run(1, 6)
    small.push(stream.batches())
    values = [row["values"] for row in small.rows("run")]
    kept = [{"all": float(i), f"own-{i}": 1.0} for i in range(3)]
    assert values == kept + [{"all": float(i)} for i in range(3, 6)]
    run = small.run("run")
    (loss,) = run["losses"]
    assert loss["rows"] == 3
    assert "4 metrics" in loss["reason"]
    assert "'own-3', 'own-4', 'own-5'" in loss["reason"]
    assert run["rows"] == 6
    # The same again changes nothing, and what is known goes on, here and after a restart.
    small.push(stream.batches())
    for again in (small, limited(stand, 4)):
        stream.row(10 + stream.last_seq, {"all": 1.0, "own-1": 2.0})
        again.push([stream.batch(stream.last_seq, stream.last_seq)])
    assert len(small.run("run")["losses"]) == 1
    assert small.rows("run")[-1]["values"] == {"all": 1.0, "own-1": 2.0}


def test_each_branch_has_its_own_names(stand: Stand) -> None:
    small = limited(stand, 4)
    for number in (1, 2, 3):
        stream = simple_run(number, run_id=f"r{number}", branch_id=f"b{number}", row_count=0)
        stream.row(0, {f"{number}-{i}": 1.0 for i in range(4)})
        small.push(stream.batches())
    assert [small.run(f"r{n}")["losses"] for n in (1, 2, 3)] == [[], [], []]


def test_batches_of_one_group_do_not_have_a_bound_each(stand: Stand) -> None:
    small = limited(stand, 6)
    stream = simple_run(1, row_count=0)
    for letter in "ab":
        stream.row(0, {f"{letter}{i}": 1.0 for i in range(5)})
    small.push([stream.batch(1, 2), stream.batch(3, 3)])
    assert small.reader.rows.keys("-", "proj", "run") == ["a0", "a1", "a2", "a3", "a4", "b0"]


def test_rows_with_relative_steps_count_after_a_restart_too(stand: Stand) -> None:
    stream = Stream(writer_id(1))
    resumed = record_pb2.Resumed(point_unknown=True)
    stream.opened("proj", "run", "b", started_at=1.0, resumed=resumed)
    for letter in "ab":
        stream.row(0, {f"{letter}{i}": 1.0 for i in range(4)}, flags=FLAG_RELATIVE_STEP)
    limited(stand, 4).push([stream.batch(1, 2)])
    limited(stand, 4).push([stream.batch(3, 3)])
    assert stand.reader.rows.keys("-", "proj", "run") == ["a0", "a1", "a2", "a3"]


def test_rows_that_come_again_are_not_told_twice(stand: Stand) -> None:
    """The catalog took them before; the metrics store did not."""
    stream = named_run(1, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stand.stores.metrics, "commit", refuse)
        with pytest.raises(StoreError):
            limited(stand, 2).push([stream.batch(1, 5)])
    limited(stand, 2).push([stream.batch(1, 7)])
    run = stand.run("run")
    assert [(loss["first_seq"], loss["last_seq"]) for loss in run["losses"]] == [(3, 5), (6, 7)]
    assert run["lost_rows"] == 5


def refuse(*_: object) -> None:
    raise StoreError("no room")


def test_names_that_many_branches_have_are_forgotten_in_turn() -> None:
    asked: list[str] = []

    def of_branch(branch_id: str) -> list[str]:
        asked.append(branch_id)
        return [f"{branch_id}-{i}" for i in range(200_000)]

    limits = NameLimits(names_max=1, total=lambda: 10**6, of_branch=of_branch)
    for branch_id in ("a", "b", "a", "c", "a", "b"):
        limits._names(branch_id, GroupNames())
    assert asked == ["a", "b", "c", "b"]


# -- death at any moment ----------------------------------------------------------------------------


def test_a_server_killed_again_and_again_keeps_what_it_acknowledged_once(
    tmp_path: Path, record_faults
) -> None:
    """A pusher as plain as can be goes on from the cursor; the server is killed ten times."""
    server = ServerProcess(tmp_path)
    server.start()
    stream = simple_run(row_count=6000)
    highest, done, wrong = [0], threading.Event(), []

    def push_on() -> None:
        while highest[0] < stream.last_seq:
            stub, channel = stub_of(server)
            with channel:
                try:
                    asked = upstream_pb2.CursorsRequest(writer_ids=[stream.writer_id])
                    cursor = stub.Cursors(asked, timeout=2).cursors[0].committed_through
                    if cursor < highest[0]:
                        wrong.append((cursor, highest[0]))
                    while cursor < stream.last_seq:
                        last = min(cursor + 50, stream.last_seq)
                        batch = stream.batch(max(1, cursor - 20), last)  # and some of it again
                        reply = stub.Push(upstream_pb2.PushRequest(batches=[batch]), timeout=5)
                        cursor = highest[0] = reply.cursors[0].committed_through
                        time.sleep(0.005)
                except grpc.RpcError:
                    time.sleep(0.02)
        done.set()

    pusher = threading.Thread(target=push_on, daemon=True)
    pusher.start()
    kills = 0
    try:
        while kills < 10 and not done.is_set():
            before = highest[0]
            eventually(lambda at=before: highest[0] > at + 100 or done.is_set() or None)
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
            server.start()
            kills += 1
        assert done.wait(60)
        pusher.join()
        assert kills == 10
        assert wrong == []
        rows = [(row["step"], row["loss"]) for row in Reader(server.url).history("run", "proj")]
        assert rows == [(step, step + 0.5) for step in range(6000)]
    finally:
        server.stop()
    record_faults(kills, phase="committed_ack_lost", fault="KILL server")
