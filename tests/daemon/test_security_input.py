"""Hostile callers and hostile files: bounded memory, no way out of a run folder, nobody harmed."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import anyio
import grpc
import pytest

from harness.amounts import amount
from harness.daemon_process import await_ready, daemon_of, eventually
from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.errors import DaemonError, DaemonRefusedError
from kelt_daemon.errors import CallRefusedError, FolderProblemError, Refusal
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.sidecar_pb2_grpc import SidecarStub

to_thread = anyio.to_thread.run_sync
MIB = 1024 * 1024
#: G14's bound.
RSS_BYTES_MAX = 256 * MIB

pytestmark = pytest.mark.asyncio


@pytest.fixture
def daemon(tmp_path):
    with daemon_of(tmp_path / "state") as daemon:
        daemon.start()
        yield daemon


def rss_bytes_max(pid: int) -> int:
    """The most memory that a process has held, as the kernel counted it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


def answers(daemon) -> bool:
    with daemon.client() as client:
        return client.status().pid == daemon.process.pid


def raw_call(daemon, method: str, payload: bytes, *, compression=None, **metadata: str):
    """A call whose message is these very bytes."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix:{daemon.state_dir.socket}", options=options) as channel:
        call = channel.stream_stream(
            f"/kelt.v1.Sidecar/{method}",
            request_serializer=lambda data: data,
            response_deserializer=lambda data: data,
        )
        return list(
            call(iter([payload]), timeout=60, compression=compression, metadata=[*metadata.items()])
        )


def status_of(daemon, method: str, payload: bytes, **options) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as raised:
        raw_call(daemon, method, payload, **options)
    return raised.value.code()


def bomb(size: int) -> bytes:
    """An AppendRequest of so many zero bytes, which gzip makes a thousandth of."""
    return sidecar_pb2.AppendRequest(
        open=sidecar_pb2.OpenWriter(writer_id=bytes(size))
    ).SerializeToString()


async def test_messages_metadata_and_gzip_bombs_beyond_the_bounds_cost_no_memory(daemon):
    payload = bomb(200 * MIB)
    assert len(gzip.compress(payload[: 10 * MIB])) < MIB // 10
    for compression in (grpc.Compression.Gzip, grpc.Compression.NoCompression):
        code = status_of(daemon, "Append", payload, compression=compression)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    del payload
    with pytest.raises(grpc.RpcError):
        raw_call(daemon, "Status", b"", x="y" * 100_000)
    assert answers(daemon)
    assert rss_bytes_max(daemon.process.pid) < RSS_BYTES_MAX


async def test_many_large_calls_at_once_are_bounded_together(daemon):
    payload = bomb(8 * MIB)

    def send(_: int) -> None:
        with contextlib.suppress(grpc.RpcError):
            raw_call(daemon, "Append", payload, compression=grpc.Compression.Gzip)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(48)))
    assert answers(daemon)
    # Eight at a time, each of them in up to four copies on its way; all 48 would be 384 MiB more.
    assert rss_bytes_max(daemon.process.pid) < 64 * MIB + 8 * 4 * 8 * MIB


async def test_bytes_that_are_no_message_refuse_the_call_and_nothing_more(daemon):
    chance = random.Random(5)
    methods = ("Hello", "Append", "DescribeRun", "Sync", "Status", "Stop", "NoSuchMethod")
    for _ in range(150):
        method = chance.choice(methods)
        if method in {"Stop", "Status"}:
            payload = b"\xff" * chance.randrange(1, 40)  # never a valid message
        else:
            payload = chance.randbytes(chance.randrange(1, 200))
        with contextlib.suppress(grpc.RpcError):
            raw_call(daemon, method, payload)
    assert answers(daemon)


@pytest.mark.parametrize(
    "path",
    [
        "relative/run",
        "../../etc",
        "/etc",
        "/dev/null",
        "/dev/zero",
        "/proc/self",
        "/nonexistent",
        "/etc/passwd",
        "/tmp/\0/run",
        "/" + "x" * 5000,
        "/" + "y/" * 3000,
        "",
    ],
)
async def test_a_run_folder_that_is_none_is_refused_in_a_sentence(daemon, path):
    opening = sidecar_pb2.OpenWriter(writer_id=bytes(16), run_folder=path)
    with grpc.insecure_channel(f"unix:{daemon.state_dir.socket}") as channel:
        with pytest.raises(grpc.RpcError) as raised:
            list(SidecarStub(channel).Append(iter([sidecar_pb2.AppendRequest(open=opening)])))
        assert raised.value.code() in {
            grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION,
        }  # fmt: skip
        said = raised.value.details()
        assert said.endswith(".")
        assert len(said) < 6000
        replies = list(SidecarStub(channel).Sync(sidecar_pb2.SyncRequest(paths=[path])))
        assert replies[-1].done
        assert all(folder.error for folder in replies[-1].folders)
    assert "Traceback" not in daemon.log_text()
    assert answers(daemon)


@pytest.mark.skipif(os.geteuid() != 0, reason="owning files for another user takes root")
async def test_folders_and_links_of_somebody_else_are_refused(daemon, tmp_path):
    mine = tmp_path / "mine"
    async with MemoryUpstream() as upstream:
        trainer = daemon.train("m", upstream.url, 5, "exit", folder=mine)
        await eventually(lambda: trainer.poll() == 0, "written")
        link = tmp_path / "link"
        link.symlink_to(mine)
        os.chown(link, 65534, 65534, follow_symlinks=False)
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        (theirs / "run.json").write_text((mine / "run.json").read_text())
        os.chown(theirs, 65534, 65534)
        with daemon.client() as client:
            for path, reason in ((link, "a link of user 65534"), (theirs, "somebody else")):
                stream = client.append(writer_id=bytes(16), run_folder=path)
                with pytest.raises(DaemonRefusedError, match=reason):
                    await to_thread(_listen, stream)
        assert [p.name for p in theirs.iterdir()] == ["run.json"]


def _listen(stream) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        stream.latest(timeout_s=0.2)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def outside(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def folder(path: Path) -> None:
    path.mkdir()


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1024 * MIB)


MAKES = (fifo, device, outside, folder, huge)
NAMES = ("run.json", "spool-000007.kelt", "journal-000001.kelt", "cursors.json", "witness.json")


@pytest.mark.parametrize(
    ("name", "make"),
    amount(
        [*zip(NAMES, MAKES, strict=True), *zip(NAMES, MAKES[2:] + MAKES[:2], strict=True)],
        long=list(product(NAMES, MAKES)),
    ),
)
async def test_what_stands_in_a_files_place_costs_that_run_alone(tmp_path, make, name):
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs") as parts:
        bad = tmp_path / "runs" / "a-bad"
        make_folder(bad, upstream.url, 20, pid=0).close()
        if name == "run.json":
            (bad / name).unlink()
        make(bad / name)
        good = tmp_path / "runs" / "b-good"
        spool = make_folder(good, upstream.url, 20, pid=0)
        spool.close()
        with anyio.fail_after(60):
            with contextlib.suppress(FolderProblemError):
                await parts.adopt(bad)
            await parts.adopt(good)
            await parts.until(
                lambda: upstream.cursors[spool.writer_id] >= 21, "the other run is sent"
            )
        assert (bad / name).lstat()


HOSTILE = {
    "pid": [-1, 2**31, 10**400, "1", 1.5, None, True],
    "pid_start_ticks": ["x", 10**30, None],
    "started_at": ["yesterday", float("nan"), float("inf"), 10**400, None],
    "hostname": ["\ud800", 7, "x" * 10_000, None],
    "run_id": ["\0", "a\nb", [], {"a": 1}],
    "entity": [None, 3],
    "upstream": ["file:///etc/passwd", "ftp://x", 5, "http://" + "x" * 9000],
    "writer_id": ["zz", "00", 5, "é" * 32],
}


async def test_a_manifest_with_values_of_another_kind_is_parked_with_a_sentence(tmp_path):
    async with daemon_parts(tmp_path / "runs") as parts:
        number = 0
        for field, values in HOSTILE.items():
            for value in values:
                number += 1
                path = tmp_path / "runs" / f"r{number}"
                make_folder(path, "http://127.0.0.1:9", 1, pid=0).close()
                data = json.loads((path / "run.json").read_text())
                data.pop("crc32")
                (path / "run.json").write_text(json.dumps(data | {field: value}))
                with pytest.raises(FolderProblemError, match=r"run\.json.*\. Mend or remove it"):
                    await parts.adopt(path)


async def test_names_that_are_no_text_break_neither_status_nor_sync(daemon, tmp_path):
    async with MemoryUpstream() as upstream:
        trainer = daemon.train("r", upstream.url, 5, "exit", folder=tmp_path / "r")
        await eventually(lambda: trainer.poll() == 0, "written")
        (tmp_path / "r").rename(daemon.state_dir.runs / os.fsdecode(b"run-\xff\xfe"))
        parked = daemon.state_dir.runs / os.fsdecode(b"bad-\xff")
        parked.mkdir()
        (parked / "run.json").write_text("{")
        with daemon.client() as client:
            await eventually(lambda: len(client.status().runs) == 2, "both are known")
            replies = await to_thread(lambda: list(client.sync(paths=[])))
            assert replies[-1].done
            shown = {Path(run.path).name for run in client.status().runs}
            assert shown == {r"run-\udcff\udcfe", r"bad-\udcff"}


async def test_streams_beyond_the_bound_are_refused_and_counted_and_their_rows_wait(tmp_path):
    async with daemon_parts(tmp_path / "runs", writers_max=2) as parts:
        spools = [
            make_folder(tmp_path / "runs" / f"r{i}", "http://127.0.0.1:9", 3) for i in range(3)
        ]

        async def requests(spool, until):
            opening = sidecar_pb2.OpenWriter(
                writer_id=spool.writer_id, run_folder=str(spool.folder)
            )
            yield sidecar_pb2.AppendRequest(open=opening)
            await until.wait()

        async def write(_reply):
            pass

        done = anyio.Event()
        async with anyio.create_task_group() as group:
            for spool in spools[:2]:
                group.start_soon(parts.ingest.append, requests(spool, done), write)
            await parts.until(lambda: parts.ingest.writers == 2, "both are open")
            with pytest.raises(CallRefusedError, match="2 writers are open") as raised:
                await parts.ingest.append(requests(spools[2], done), write)
            assert raised.value.refusal is Refusal.TOO_MANY
            bound = parts.ingest.writers_bound()
            assert (bound.used, bound.limit, bound.met) == (2, 2, 1)
            done.set()
        await parts.ingest.append(requests(spools[2], done), write)
        for spool in spools:
            spool.close()


async def test_listening_on_a_network_address_is_refused_with_a_reason(tmp_path):
    with daemon_of(tmp_path / "state") as daemon:
        for address in ("127.0.0.1:9999", "0.0.0.0:9999"):
            daemon.environ["KELT_DAEMON_LISTEN"] = address
            process, ready = daemon.spawn()
            daemon.trainers.append(process)
            os.close(ready)
            assert await to_thread(lambda process=process: process.wait(60)) == 1
            said = process.stderr.read().decode()
            assert f"cannot listen on '{address}'" in said
            assert "Unset KELT_DAEMON_LISTEN" in said


async def test_frames_of_hostile_lengths_are_kept_from_the_journal_or_harm_nobody(daemon):
    trainer = daemon.train("r1", "http://127.0.0.1:9", 3, "wait")
    await eventually(lambda: await_ready(trainer) is None, "rows logged")
    import zlib

    from kelt_proto.v1.record_pb2 import Batch

    writer_id, chance = daemon.writer_id("r1"), random.Random(7)
    with daemon.client() as client:
        for number in range(20):
            frames = bytearray(chance.randbytes(chance.choice((0, 1, 8, 24, 64, 4096))))
            frames[:4] = b"\xff\xff\xff\xff"
            batch = Batch(
                writer_id=writer_id, first_seq=number + 1, last_seq=number + 1 + (number % 3) * 2**62,
                crc32=zlib.crc32(frames), frames=bytes(frames),
            )  # fmt: skip
            with contextlib.suppress(DaemonError):
                stream = client.append(writer_id=writer_id, run_folder=daemon.state_dir.runs / "r1")
                stream.send(sidecar_pb2.AppendRequest(batch=batch))
                await to_thread(lambda stream=stream: stream.latest(timeout_s=0.1))
                stream.close()
        assert client.status().pid == daemon.process.pid
    assert rss_bytes_max(daemon.process.pid) < RSS_BYTES_MAX
    assert daemon.process.poll() is None
