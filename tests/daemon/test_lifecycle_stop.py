"""How a daemon ends: soon, whatever hangs, and with everything on disk that it has acknowledged."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import anyio
import pytest
import pytest_asyncio

from harness.daemon_process import await_ready, daemon_of, eventually
from harness.memory_upstream import MemoryUpstream
from harness.releases import planted_path
from kelt.errors import DaemonRefusedError
from kelt.run_folder import MANIFEST_NAME
from kelt_daemon.config import DaemonConfig
from kelt_proto.v1.record_pb2 import Assertion

to_thread = anyio.to_thread.run_sync

pytestmark = pytest.mark.asyncio


@pytest.fixture
def daemon(tmp_path):
    with daemon_of(tmp_path / "state") as daemon:
        yield daemon


def numbers(count: int) -> list[float]:
    return [float(i) for i in range(count)]


async def test_the_times_of_a_stop_add_up_to_what_is_promised():
    config = DaemonConfig()
    assert config.drain_s <= 2
    assert config.exit_s <= 8.5  # and 1.5 s until the kernel ends what still hangs


async def test_sigterm_ends_it_while_the_upstream_hangs_and_a_stream_is_open(daemon):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        daemon.start()
        trainer = daemon.train("r1", url, 4000, "wait", stream=True, options=("--row-s", "0.0002"))
        await eventually(lambda: daemon.run_status("r1").durable_records > 500, "under way")
        daemon.process.terminate()
        assert await to_thread(lambda: daemon.process.wait(60)) == 0
        assert '"is_all_durable": true' in daemon.log_text()
        await eventually(lambda: await_ready(trainer) is None, "the trainer goes on")
        trainer.kill()
        trainer.wait()
    # What was acknowledged is in the journal and the rest in the spool: together all of it.
    async with MemoryUpstream() as upstream:
        _rewrite(daemon.state_dir.runs / "r1", upstream=upstream.url)
        writer_id = daemon.writer_id("r1")
        daemon.start()
        await eventually(lambda: upstream.assertions(writer_id), "its end is judged")
        await eventually(lambda: len(upstream.row_values(writer_id)) == 4000, "all rows")
        assert upstream.row_values(writer_id) == numbers(4000)
        assert upstream.violations == []


@pytest_asyncio.fixture
async def stuck_daemon(daemon, tmp_path):
    """A daemon with a live stream, on a disk that no longer answers."""
    stuck = tmp_path / "stuck"
    daemon.environ |= {"PYTHONPATH": planted_path(), "PLANTED_STUCK": os.fspath(stuck)}
    daemon.start()
    pace = ("--row-s", "0.001")
    trainer = daemon.train("r1", "http://127.0.0.1:9", 1500, "wait", stream=True, options=pace)
    await eventually(lambda: daemon.run_status("r1").durable_records > 100, "under way")
    stuck.touch()
    await eventually(lambda: await_ready(trainer) is None, "rows logged")
    assert daemon.run_status("r1").durable_records < 1500
    yield daemon
    stuck.unlink(missing_ok=True)


async def test_the_kernel_ends_a_daemon_whose_disk_never_answers(stuck_daemon, tmp_path):
    daemon = stuck_daemon
    daemon.process.terminate()
    assert await to_thread(lambda: daemon.process.wait(60)) == -signal.SIGALRM
    # Nothing was said to be durable that is not: the other rows are still in the spool.
    (tmp_path / "stuck").unlink()
    daemon.trainers[0].kill()
    daemon.start()
    await eventually(lambda: daemon.run_status("r1").durable_records == 1502, "all rows")


async def test_a_stop_for_a_successor_that_is_not_newer_is_refused(daemon):
    daemon.start()
    with daemon.client() as client:
        for version in ("0.0.9", client.status().version, "nonsense"):
            with pytest.raises(DaemonRefusedError, match="hands over only to a newer version"):
                client.stop(successor_version=version)
        assert client.status().pid == daemon.process.pid
        client.stop(successor_version="99.0")
    await eventually(lambda: daemon.process.poll() == 0, "it handed over")


async def test_after_a_reboot_the_backlog_is_sent_and_the_runs_of_before_are_crashed(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainers = [
            daemon.train(f"r{i}", "http://127.0.0.1:9", 800, "wait", stream=i < 2)
            for i in range(3)
        ]  # fmt: skip
        for trainer in trainers:
            await eventually(lambda trainer=trainer: await_ready(trainer) is None, "rows logged")
        for i in (0, 1):
            await eventually(
                lambda i=i: daemon.run_status(f"r{i}").durable_records == 801, "durable"
            )
        daemon.kill()
        for trainer in trainers:
            trainer.kill()
            trainer.wait()
        for i in range(3):
            _rewrite(
                daemon.state_dir.runs / f"r{i}", upstream=upstream.url, boot_id="the boot before"
            )
        daemon.start()
        for i in range(3):
            writer_id = daemon.writer_id(f"r{i}")
            await eventually(lambda w=writer_id: upstream.assertions(w), "judged")
            (assertion,) = upstream.assertions(writer_id)
            assert assertion.state == Assertion.CRASHED
            assert "rebooted" in assertion.reason
            assert upstream.row_values(writer_id) == numbers(800)
        assert upstream.violations == []


def _rewrite(folder: Path, **changes: str) -> None:
    """Changes a manifest, as somebody does by hand."""
    path = folder / MANIFEST_NAME
    data = json.loads(path.read_text())
    data.pop("crc32", None)
    path.write_text(json.dumps(data | changes))


async def test_a_second_sigterm_ends_it_at_once_though_the_disk_hangs(stuck_daemon):
    daemon = stuck_daemon
    daemon.process.terminate()
    await eventually(lambda: "daemon_stopping" in daemon.log_text(), "it is stopping")
    daemon.process.terminate()
    assert await to_thread(lambda: daemon.process.wait(60)) == 128 + signal.SIGTERM
