"""A real server process over real sockets: kept through SIGKILL, drained by SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from server.streams import simple_run, writer_id

from kelt_proto.v1 import record_pb2, upstream_pb2, upstream_pb2_grpc
from kelt_server.listening import listen

_START_S = 60.0


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    ready: dict[str, Any]
    key: str

    def stub(self) -> Any:
        channel = grpc.insecure_channel(f"127.0.0.1:{self.ready['grpc_port']}")
        return upstream_pb2_grpc.UpstreamStub(channel)

    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.key}")] if self.key else []

    def push(self, *batches: record_pb2.Batch) -> Any:
        request = upstream_pb2.PushRequest(batches=batches)
        return self.stub().Push(request, timeout=60, metadata=self.metadata()).cursors

    def get(self, path: str, **params: Any) -> Any:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        found = httpx.get(self.ready["url"] + path, params=params, headers=headers, timeout=60)
        assert found.status_code == 200, found.text
        return found.json()

    def rows(self, run: str, limit: int = 500) -> list[Any]:
        found, after = [], ""
        while after is not None:
            page = self.get(
                f"/api/v1/runs/-/proj/{run}/history",
                limit=limit,
                **({"after": after} if after else {}),
            )
            found += page["rows"]
            after = page["next"]
        return found


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*flags: str, key: str = "", wait: bool = True) -> Server:
        ready_file = tmp_path / f"ready-{len(started)}.json"
        arguments = ["--dir", str(tmp_path / "data"), "--port", "0", *flags]
        environment = {**os.environ, "KELT_SERVER_API_KEY": key}
        process = subprocess.Popen(
            [sys.executable, "-m", "kelt_server", *arguments, "--ready-file", str(ready_file)],
            env=environment,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        if not wait:
            return Server(process, {}, key)
        deadline = time.monotonic() + _START_S
        while not ready_file.exists():
            assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return Server(process, json.loads(ready_file.read_text()), key)

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.covers(phase="committed_ack_lost", fault="KILL server")
def test_rows_survive_a_server_killed_in_mid_stream_exactly_once(start: Start) -> None:
    streams = [
        simple_run(n, run_id=f"run-{n}", branch_id=f"b{n}", row_count=400) for n in (1, 2, 3)
    ]
    server = start()
    pending = {s.writer_id: s for s in streams}
    for stream in streams:
        for batch in stream.batches(30)[:5]:
            server.push(batch)
        # one more is sent and not waited for: it may or may not be committed
        server.stub().Push.future(upstream_pb2.PushRequest(batches=[stream.batches(30)[5]]))
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()

    server = start()
    cursors = (
        server.stub()
        .Cursors(upstream_pb2.CursorsRequest(writer_ids=list(pending)), timeout=60)
        .cursors
    )
    for cursor in cursors:
        assert cursor.committed_through >= 150
        stream = pending[cursor.writer_id]
        for first in range(max(1, cursor.committed_through - 10), stream.last_seq + 1, 64):
            server.push(stream.batch(first, min(first + 63, stream.last_seq)))
    for n in (1, 2, 3):
        rows = server.rows(f"run-{n}")
        assert [(row["step"], row["values"], row["timestamp"]) for row in rows] == [
            (step, {"loss": step + 0.5}, 100.0 + step) for step in range(400)
        ]


def test_sigterm_drains_and_exits_0(start: Start) -> None:
    server = start()
    server.push(*simple_run().batches())
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.process.communicate(timeout=60)
    assert server.process.returncode == 0
    first, *_ = errors.decode().splitlines()
    assert first.startswith("kelt server at http://127.0.0.1:")
    assert len(start().rows("run")) == 3


def test_a_second_server_on_the_folder_gets_one_sentence(start: Start) -> None:
    start()
    second = start(wait=False)
    _, errors = second.process.communicate(timeout=60)
    assert second.process.returncode == 1
    assert errors.decode().count("\n") == 1
    assert "another kelt server uses" in errors.decode()


@pytest.mark.parametrize("flag", ["--port", "--grpc-port"])
def test_a_taken_port_gets_one_sentence(start: Start, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start(flag, str(taken.getsockname()[1]), *_rest(flag), wait=False)
        _, errors = server.process.communicate(timeout=60)
    assert server.process.returncode == 1
    assert errors.decode().count("\n") == 1
    assert "cannot be listened on" in errors.decode()


def _rest(flag: str) -> tuple[str, ...]:
    return ("--grpc-port", "0") if flag == "--port" else ()


def test_a_key_is_wanted_everywhere_but_on_info(start: Start) -> None:
    server = start(key="secret")
    stub = server.stub()
    for metadata in ([], [("authorization", "Bearer wrong")]):
        with pytest.raises(grpc.RpcError) as refused:
            stub.Hello(upstream_pb2.UpstreamHelloRequest(protocol=1), timeout=60, metadata=metadata)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "wants a key" in refused.value.details()
    server.push(*simple_run().batches())
    url = server.ready["url"]
    assert httpx.get(url + "/api/v1/info").json()["auth_required"] is True
    for path in ("/api/v1/runs", "/", "/openapi.json", "/nowhere"):
        refused_http = httpx.get(url + path)
        assert refused_http.status_code == 401
        assert "error" in refused_http.json()
    assert httpx.get(url + "/", auth=("anyone", "secret")).status_code == 200
    assert len(server.rows("run")) == 3


def test_a_key_is_not_taken_from_the_command_line(start: Start) -> None:
    server = start("--api-key", "secret", wait=False)
    server.process.communicate(timeout=60)
    assert server.process.returncode == 2


@pytest.mark.parametrize(
    "flags", [("--port", "abc"), ("--port", "70000"), ("--nothing",), ("--lease-s", "0")]
)
def test_wrong_usage_gets_one_sentence_that_names_it(start: Start, flags: tuple[str, ...]) -> None:
    server = start(*flags, wait=False)
    _, errors = server.process.communicate(timeout=60)
    assert server.process.returncode == 2
    assert errors.decode().count("\n") == 1
    assert flags[0] in errors.decode()


def test_another_protocol_is_refused_with_both_versions(start: Start) -> None:
    stub = start().stub()
    with pytest.raises(grpc.RpcError) as refused:
        stub.Hello(upstream_pb2.UpstreamHelloRequest(version="9.0", protocol=9), timeout=60)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "protocol 9" in refused.value.details()
    assert "protocol 1" in refused.value.details()
    assert "upgrade this server" in refused.value.details()


def test_hello_push_heartbeat_and_describe(start: Start) -> None:
    server = start("--entity", "team")
    stub = server.stub()
    hello = stub.Hello(upstream_pb2.UpstreamHelloRequest(protocol=1), timeout=60)
    assert (hello.default_entity, hello.push_bytes_max) == ("team", 8 * 2**20)
    assert hello.server_id == server.get("/api/v1/info")["server_id"]

    stream = simple_run(row_count=5)
    stream.config(1.0, lr=0.5)
    stream.summary(4, {"best": float("inf")})
    stream.define("loss", "min", step=-1)
    server.push(*stream.batches())
    beat = upstream_pb2.WriterBeat(writer_id=stream.writer_id, stalled=True)
    stub.Heartbeat(upstream_pb2.HeartbeatRequest(beats=[beat]), timeout=60)
    deadline = time.monotonic() + 60
    while "stalled" not in server.get("/api/v1/runs/-/proj/run")["reason"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    request = upstream_pb2.DescribeRunRequest(project="proj", run_id="run", step=2)
    described = stub.DescribeRun(request, timeout=60)
    assert (described.exists, described.branch_id, described.last_step) == (True, "b", 4)
    assert (described.entity, described.state, described.runtime) == ("team", "running", 4.0)
    assert json.loads(described.config_json) == {"lr": 0.5}
    assert json.loads(described.summary_json) == {"loss": 0.5}  # the value by hand came later
    assert [d.name for d in described.definitions] == ["loss"]
    request = upstream_pb2.DescribeRunRequest(project="proj", run_id="b")
    assert json.loads(stub.DescribeRun(request, timeout=60).summary_json) == {
        "loss": 0.5,
        "best": float("inf"),
    }
    request = upstream_pb2.DescribeRunRequest(project="proj", run_id="nobody")
    assert stub.DescribeRun(request, timeout=60).exists is False


@pytest.mark.covers(phase="upstream_send", fault="bit flip")
def test_a_batch_damaged_on_the_way_is_data_loss(start: Start) -> None:
    batch = simple_run().batch(1, 4)
    batch.crc32 ^= 1
    with pytest.raises(grpc.RpcError) as refused:
        start().push(batch)
    assert refused.value.code() == grpc.StatusCode.DATA_LOSS


def test_pushes_of_many_daemons_at_once_are_all_kept(start: Start) -> None:
    server = start()
    stub = server.stub()
    streams = [simple_run(n, run_id=f"r{n}", branch_id=f"b{n}", row_count=20) for n in range(1, 31)]
    calls = [
        stub.Push.future(upstream_pb2.PushRequest(batches=s.batches()), timeout=60) for s in streams
    ]
    assert [call.result().cursors[0].committed_through for call in calls] == [21] * 30
    assert {run["rows"] for run in server.get("/api/v1/runs", project="proj")["runs"]} == {20}
    assert writer_id(1) == streams[0].writer_id


def test_answers_on_a_kept_connection_wait_for_no_acknowledgement() -> None:
    """Whoever accepts on the server's socket sends without delay (TCP_NODELAY)."""

    async def accepted_without_delay() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            seen.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            found = await asyncio.wait_for(seen, 60)
            writer.close()
            await writer.wait_closed()
        return found

    assert asyncio.run(accepted_without_delay())
