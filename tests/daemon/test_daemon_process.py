"""Real daemons, real trainers, and an upstream that judges them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib

import anyio
import grpc
import pytest

from harness.daemon_process import DaemonProcess, await_ready, daemon_of, eventually, last_reports
from harness.memory_upstream import EXIT, RUN_OPENED, MemoryUpstream
from kelt.errors import DaemonRefusedError, DaemonUnavailableError
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.record_pb2 import Assertion, Batch
from kelt_proto.v1.sidecar_pb2_grpc import SidecarStub

to_thread = anyio.to_thread.run_sync

pytestmark = pytest.mark.asyncio


@pytest.fixture
def daemon(tmp_path):
    with daemon_of(tmp_path / "state") as daemon:
        yield daemon


def numbers(count: int) -> list[float]:
    return [float(i) for i in range(count)]


def listen_to_the_end(stream, deadline_s: float = 20) -> None:
    """Raises what ends the stream."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        stream.latest(timeout_s=0.2)


def has_all(upstream: MemoryUpstream, daemon: DaemonProcess, name: str, rows: int) -> None:
    writer_id = daemon.writer_id(name)
    assert upstream.violations == []
    assert upstream.row_values(writer_id) == numbers(rows)
    assert len(upstream.of_kind(writer_id, RUN_OPENED)) == 1


async def test_a_stream_reaches_the_upstream_and_its_exit_ends_the_run(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 20_000, "exit", stream=True)
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        await eventually(lambda: daemon.run_status("r1").state == "finished", "finished")
        await eventually(
            lambda: len(upstream.of_kind(daemon.writer_id("r1"), EXIT)) == 1, "the exit arrived"
        )
        has_all(upstream, daemon, "r1", 20_000)
        assert upstream.assertions(daemon.writer_id("r1")) == []


async def test_a_trainer_killed_in_mid_run_is_crashed_with_its_signal_and_loses_no_row(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 5000, "wait", stream=True)
        await eventually(lambda: await_ready(trainer) is None, "all rows logged")
        await eventually(lambda: daemon.run_status("r1").path, "the daemon knows it")
        trainer.send_signal(signal.SIGKILL)
        writer_id = daemon.writer_id("r1")
        await eventually(lambda: upstream.assertions(writer_id), "an assertion")
        (assertion,) = upstream.assertions(writer_id)
        assert assertion.state == Assertion.CRASHED
        assert assertion.signal == signal.SIGKILL
        assert assertion.reason == "killed by SIGKILL (signal 9)"
        has_all(upstream, daemon, "r1", 5000)
        assert daemon.run_status("r1").state == "crashed"


async def test_a_trainer_that_leaves_with_a_code_and_no_word_is_failed_with_that_code(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 100, "silent:7", stream=True)
        await eventually(lambda: trainer.poll() == 7, "the trainer left")
        writer_id = daemon.writer_id("r1")
        await eventually(lambda: upstream.assertions(writer_id), "an assertion")
        (assertion,) = upstream.assertions(writer_id)
        assert (assertion.state, assertion.exit_code) == (Assertion.FAILED, 7)
        has_all(upstream, daemon, "r1", 100)


@pytest.mark.covers(phase="rpc_send", fault="KILL daemon")
async def test_a_daemon_killed_in_mid_stream_loses_and_doubles_nothing(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train(
            "r1", upstream.url, 3000, "exit", stream=True, options=("--row-s", "0.0005")
        )
        for share in (500, 1500):
            await eventually(
                lambda share=share: (
                    len(upstream.row_values(daemon.writer_id("r1"))) > share
                    if daemon.run_status("r1").path
                    else False
                ),
                "part of the run arrived",
            )
            daemon.kill()
            daemon.start()
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        await eventually(lambda: upstream.of_kind(daemon.writer_id("r1"), EXIT), "the exit")
        has_all(upstream, daemon, "r1", 3000)
        assert upstream.losses(daemon.writer_id("r1")) == []


async def test_what_is_logged_while_the_upstream_is_down_arrives_when_it_is_back(daemon):
    upstream = MemoryUpstream()
    async with upstream:
        daemon.start()
        early = daemon.train("r1", upstream.url, 200, "wait", stream=True)
        await eventually(lambda: await_ready(early) is None, "rows logged")
        await eventually(lambda: daemon.run_status("r1").committed_records == 201, "committed")
    late = daemon.train("r2", upstream.url, 5000, "exit", stream=True)
    await eventually(lambda: late.poll() == 0, "the trainer ended without an upstream")
    await eventually(lambda: daemon.run_status("r2").durable_records == 5002, "durable")
    assert daemon.run_status("r2").committed_records == 0
    async with upstream:
        with daemon.client() as client:
            await eventually(
                lambda: (
                    list(client.sync(paths=[], retry_now=True))
                    and daemon.run_status("r2").committed_records == 5002
                ),
                "committed",
            )
        has_all(upstream, daemon, "r2", 5000)
    events = [line for line in daemon.log_text().splitlines() if "upstream_" in line]
    assert sum("upstream_unreachable" in line for line in events) == 1
    assert sum("upstream_reachable" in line for line in events) == 2


async def test_of_eight_daemons_started_at_once_one_serves_and_the_others_say_why(daemon):
    spawned = [daemon.spawn() for _ in range(8)]
    daemon.trainers += [process for process, _ in spawned]
    await eventually(lambda: sum(p.poll() is not None for p, _ in spawned) == 7, "seven gave up")
    alive = [(p, fd) for p, fd in spawned if p.poll() is None]
    for process, _ in spawned:
        if process.poll() is not None:
            assert process.returncode == 3
            said = process.stderr.read().decode()
            assert "already serves" in said
            assert "kelt daemon stop" in said
    daemon.process = alive[0][0]
    assert os.read(alive[0][1], 1) == b"\n"
    with daemon.client() as client:
        assert client.status().pid == daemon.process.pid
    for process, ready in spawned:
        os.close(ready)
        if process is not daemon.process:
            process.stderr.close()


async def test_sigterm_makes_what_was_taken_durable_and_exits(daemon):
    daemon.start()
    trainer = daemon.train("r1", "http://127.0.0.1:9", 20_000, "wait", stream=True)
    await eventually(lambda: await_ready(trainer) is None, "rows logged")
    await eventually(lambda: daemon.run_status("r1").path, "known")
    assert daemon.terminate() == 0
    assert not daemon.state_dir.socket.exists()
    assert '"is_all_durable": true' in daemon.log_text()
    async with MemoryUpstream():
        pass


async def test_stop_ends_the_daemon_and_a_new_one_goes_on(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 1000, "wait", stream=True)
        await eventually(lambda: await_ready(trainer) is None, "rows logged")
        with daemon.client() as client:
            client.stop()
        await eventually(lambda: daemon.process.poll() == 0, "it stopped")
        daemon.start()
        trainer.kill()
        writer_id = daemon.writer_id("r1")
        await eventually(lambda: upstream.assertions(writer_id), "an assertion")
        assert upstream.assertions(writer_id)[0].signal == signal.SIGKILL
        has_all(upstream, daemon, "r1", 1000)


async def test_a_run_that_died_while_no_daemon_watched_is_crashed_and_says_so(daemon):
    async with MemoryUpstream() as upstream:
        trainer = daemon.train("r1", upstream.url, 500, "wait")
        await eventually(lambda: await_ready(trainer) is None, "rows logged")
        trainer.kill()
        trainer.wait()
        daemon.start()
        writer_id = daemon.writer_id("r1")
        await eventually(lambda: upstream.assertions(writer_id), "an assertion")
        (assertion,) = upstream.assertions(writer_id)
        assert assertion.state == Assertion.CRASHED
        assert "not known" in assertion.reason
        has_all(upstream, daemon, "r1", 500)
        assert not list((daemon.state_dir.runs / "r1").glob("spool-*"))


async def test_a_run_from_before_a_reboot_is_crashed_with_that_reason(daemon):
    async with MemoryUpstream() as upstream:
        trainer = daemon.train("r1", upstream.url, 50, "silent:0", options=("--boot", "another"))
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        daemon.start()
        writer_id = daemon.writer_id("r1")
        await eventually(lambda: upstream.assertions(writer_id), "an assertion")
        assert "rebooted" in upstream.assertions(writer_id)[0].reason
        has_all(upstream, daemon, "r1", 50)


async def test_a_folder_dropped_in_from_another_machine_is_replayed_and_not_judged(
    daemon, tmp_path
):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train(
            "x", upstream.url, 300, "silent:1", folder=tmp_path / "elsewhere" / "r1",
            options=("--machine", "another", "--mode", "offline"),
        )  # fmt: skip
        await eventually(lambda: trainer.poll() == 1, "the trainer ended")
        shutil.copytree(tmp_path / "elsewhere" / "r1", daemon.state_dir.runs / "r1")
        writer_id = daemon.writer_id("r1")
        await eventually(lambda: upstream.cursors[writer_id] == 301, "replayed")
        has_all(upstream, daemon, "r1", 300)
        assert upstream.assertions(writer_id) == []


async def test_an_offline_run_waits_until_sync_names_it_even_over_a_restart(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 400, "exit", options=("--mode", "offline"))
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        await eventually(lambda: daemon.run_status("r1").durable_records == 402, "read")
        assert daemon.run_status("r1").state == "waiting"
        daemon.kill()
        daemon.start()
        await eventually(lambda: daemon.run_status("r1").durable_records == 402, "read")
        assert daemon.run_status("r1").state == "waiting"
        assert upstream.cursors == {}
        with daemon.client() as client:
            replies = await to_thread(
                lambda: list(client.sync(paths=[daemon.state_dir.runs / "r1"]))
            )
        assert replies[-1].done
        assert [(f.records, f.committed, f.error) for f in last_reports(replies)] == [
            (402, 402, "")
        ]
        has_all(upstream, daemon, "r1", 400)
        assert daemon.run_status("r1").state == "finished"


async def test_sync_of_a_live_offline_run_says_that_it_still_goes_on(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 10, "wait", options=("--mode", "offline"))
        await eventually(lambda: await_ready(trainer) is None, "rows logged")
        await eventually(lambda: daemon.run_status("r1").path, "known")
        with daemon.client() as client:
            replies = await to_thread(lambda: list(client.sync(paths=[])))
        assert "still goes on" in last_reports(replies)[0].error
        assert upstream.cursors == {}


async def test_sync_adopts_a_folder_that_lies_elsewhere_and_refuses_what_is_none(daemon, tmp_path):
    async with MemoryUpstream() as upstream:
        daemon.start()
        folder = tmp_path / "elsewhere" / "r1"
        trainer = daemon.train(
            "r1", upstream.url, 40, "exit", folder=folder, options=("--mode", "offline")
        )
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        with daemon.client() as client:
            replies = await to_thread(
                lambda: list(client.sync(paths=[tmp_path / "elsewhere", tmp_path / "nothing"]))
            )
        errors = {f.path: f.error for f in last_reports(replies)}
        assert errors[str(folder)] == ""
        assert "holds no run folder" in errors[str(tmp_path / "nothing")]
        has_all(upstream, daemon, "r1", 40)
        assert (daemon.state_dir.runs / "r1").is_symlink()


async def test_a_refused_key_pauses_without_trying_and_a_new_key_resumes(daemon):
    async with MemoryUpstream(api_key="right-key") as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 100, "exit", stream=True)
        with daemon.client() as client:
            client.hello(upstream=upstream.url, api_key="wrong-key")
            await eventually(lambda: trainer.poll() == 0, "the trainer ended")
            await eventually(lambda: client.status().upstreams[0].state == 4, "refused")
            assert "KELT_API_KEY" in client.status().upstreams[0].reason
            refusals = upstream.refusals
            await eventually(lambda: daemon.run_status("r1").durable_records == 102, "durable")
            assert upstream.refusals == refusals
            replies = await to_thread(lambda: list(client.sync(paths=[])))
            assert "KELT_API_KEY" in last_reports(replies)[0].error
            client.hello(upstream=upstream.url, api_key="right-key")
            await eventually(lambda: daemon.run_status("r1").committed_records == 102, "committed")
        has_all(upstream, daemon, "r1", 100)
        assert "right-key" not in daemon.log_text()


async def test_another_protocol_pauses_with_a_sentence_that_says_what_to_upgrade(daemon):
    async with MemoryUpstream(protocol=99) as upstream:
        daemon.start()
        with daemon.client() as client:
            client.hello(upstream=upstream.url, api_key="")
            await eventually(lambda: client.status().upstreams[0].state == 4, "refused")
            assert "upgrade the kelt on this host" in client.status().upstreams[0].reason


async def test_an_unreadable_folder_is_parked_and_the_others_go_on(daemon):
    async with MemoryUpstream() as upstream:
        broken = daemon.state_dir.runs / "broken"
        broken.mkdir()
        (broken / "run.json").write_text("{")
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 10, "exit", stream=True)
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        await eventually(lambda: upstream.cursors[daemon.writer_id("r1")] == 12, "arrived")
        await eventually(lambda: daemon.run_status("broken").path, "parked")
        assert "run.json" in daemon.run_status("broken").problem


async def test_another_server_at_the_same_address_is_filled_again(daemon):
    first = MemoryUpstream()
    async with first:
        daemon.start()
        trainer = daemon.train("r1", first.url, 250, "exit", stream=True)
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        await eventually(lambda: daemon.run_status("r1").committed_records == 252, "committed")
    second = MemoryUpstream(
        server_id="server-2", http_port=first.http_port, grpc_port=first.grpc_port
    )
    async with second:
        with daemon.client() as client:
            client.hello(upstream=second.url, api_key="")
        trainer = daemon.train("r2", second.url, 5, "exit", stream=True)
        await eventually(lambda: second.cursors[daemon.writer_id("r1")] == 252, "filled again")
        has_all(second, daemon, "r1", 250)


@pytest.mark.covers(phase="committed_ack_lost", fault="reset")
async def test_lost_answers_and_errors_of_the_upstream_double_nothing(daemon):
    async with MemoryUpstream(lost_answers=2) as upstream:
        upstream.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 9000, "exit", stream=True)
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        await eventually(lambda: upstream.of_kind(daemon.writer_id("r1"), EXIT), "the exit")
        has_all(upstream, daemon, "r1", 9000)


async def test_it_exits_by_itself_when_nobody_needs_it(tmp_path):
    with daemon_of(tmp_path / "state", idle_exit_s=0.5) as daemon:
        daemon.start()
        await eventually(lambda: daemon.process.poll() == 0, "it left")
        assert not daemon.state_dir.daemon_record.exists()


async def test_it_does_not_exit_while_a_writer_lives(tmp_path):
    async with MemoryUpstream() as upstream:
        with daemon_of(tmp_path / "state", idle_exit_s=0.5) as daemon:
            trainer = daemon.train("r1", upstream.url, 10, "wait")
            await eventually(lambda: await_ready(trainer) is None, "rows logged")
            daemon.start()
            await eventually(lambda: daemon.run_status("r1").path, "known")
            await anyio.sleep(3)
            assert daemon.process.poll() is None
            trainer.kill()
            await eventually(lambda: daemon.process.poll() == 0, "it left")
            has_all(upstream, daemon, "r1", 10)


async def test_describe_run_passes_through_and_says_when_the_upstream_is_not_there(daemon):
    daemon.start()
    with daemon.client() as client:
        async with MemoryUpstream() as upstream:
            reply = await to_thread(
                lambda: client.describe_run(
                    upstream=upstream.url, entity="", project="p", run_id="r", timeout_s=60
                )
            )
            assert reply.exists
        with pytest.raises(DaemonUnavailableError, match="does not answer"):
            await to_thread(
                lambda: client.describe_run(
                    upstream="http://127.0.0.1:9", entity="", project="p", run_id="r", timeout_s=5
                )
            )


async def test_the_socket_and_the_files_are_for_the_user_alone(daemon):
    daemon.start()
    async with MemoryUpstream() as upstream:
        trainer = daemon.train("r1", upstream.url, 10, "exit", stream=True)
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        assert daemon.state_dir.socket.stat().st_mode & 0o777 == 0o600
        for path in daemon.state_dir.root.rglob("*"):
            if path.is_file() and "spool" not in path.name and path.name != "run.json":
                assert path.stat().st_mode & 0o077 == 0, path


async def test_live_writers_are_reported_while_nothing_is_uploaded(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train("r1", upstream.url, 10, "wait", stream=True)
        await eventually(lambda: await_ready(trainer) is None, "rows logged")
        writer_id = daemon.writer_id("r1")
        await eventually(lambda: any(writer_id in b for b in upstream.beats), "a beat")
        assert upstream.beats[-1] == {writer_id: False}


async def test_a_batch_changed_on_its_way_and_a_foreign_folder_end_the_stream_with_a_sentence(
    daemon,
):
    daemon.start()
    trainer = daemon.train("r1", "http://127.0.0.1:9", 10, "wait")
    await eventually(lambda: await_ready(trainer) is None, "rows logged")
    folder, writer_id = daemon.state_dir.runs / "r1", daemon.writer_id("r1")
    batch = Batch(writer_id=writer_id, first_seq=1, last_seq=1, crc32=1, frames=b"x" * 32)
    with daemon.client() as client:
        stream = client.append(writer_id=writer_id, run_folder=folder)
        stream.send(sidecar_pb2.AppendRequest(batch=batch))
        with pytest.raises(DaemonRefusedError, match="changed on its way"):
            await to_thread(listen_to_the_end, stream)
        stream = client.append(writer_id=bytes(16), run_folder=folder)
        with pytest.raises(DaemonRefusedError, match="another writer's folder"):
            await to_thread(listen_to_the_end, stream)
        stream = client.append(writer_id=bytes(16), run_folder=folder / "nothing")
        with pytest.raises(DaemonRefusedError, match="run folder"):
            await to_thread(listen_to_the_end, stream)
    assert "Traceback" not in daemon.log_text()


async def test_a_second_sigterm_ends_it_at_once(daemon):
    daemon.start()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGINT)  # one more of the same kind would be merged
    os.kill(daemon.process.pid, signal.SIGCONT)
    code = await to_thread(lambda: daemon.process.wait(60))
    assert code in {128 + signal.SIGTERM, 128 + signal.SIGINT}


@pytest.mark.covers(phase="gc", fault="KILL server")
async def test_a_server_restored_from_a_backup_is_given_again_what_it_lost(daemon):
    async with MemoryUpstream() as upstream:
        daemon.start()
        trainer = daemon.train(
            "r1", upstream.url, 400, "exit", stream=True, options=("--row-s", "0.005")
        )
        await eventually(lambda: daemon.run_status("r1").committed_records > 100, "part is there")
        writer_id = daemon.writer_id("r1")
        upstream.cursors[writer_id] = 50
        for seq in [s for s in upstream.records[writer_id] if s > 50]:
            del upstream.records[writer_id][seq]
        await eventually(lambda: trainer.poll() == 0, "the trainer ended")
        await eventually(lambda: upstream.of_kind(writer_id, EXIT), "the exit")
        has_all(upstream, daemon, "r1", 400)
        assert upstream.losses(writer_id) == []


async def test_a_daemon_whose_state_folder_was_deleted_ends_and_spares_its_successor(daemon):
    daemon.start()
    first = daemon.process
    shutil.rmtree(daemon.state_dir.root)
    daemon.state_dir.create()
    daemon.start()
    assert first.wait(60) == 1
    with daemon.client() as client:
        assert client.status().pid == daemon.process.pid


FINISHED_OFFLINE = """
import sys, kelt
run = kelt.init("p", id="r1", mode="offline")
for i in range(50):
    run.log({"value": float(i)})
run.finish()
print("ready", flush=True)
sys.stdin.read()
"""


def finished_offline(daemon: DaemonProcess, upstream: str) -> subprocess.Popen[str]:
    """A process that lives on after its offline run was finished."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
    environ |= {"KELT_DIR": str(daemon.state_dir.root), "KELT_UPSTREAM": upstream}
    environ["KELT_CONFIG"] = os.devnull
    trainer = subprocess.Popen(
        [sys.executable, "-c", FINISHED_OFFLINE],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    daemon.trainers.append(trainer)
    return trainer


@pytest.mark.parametrize("is_known_before", [True, False])
async def test_an_offline_run_that_was_finished_is_sent_while_its_process_lives(
    daemon, is_known_before
):
    async with MemoryUpstream() as upstream:
        trainer = finished_offline(daemon, upstream.url)
        if is_known_before:
            daemon.start()
            await eventually(lambda: await_ready(trainer) is None, "finished")
            await eventually(lambda: any(daemon.state_dir.runs.iterdir()), "there")
        else:
            await eventually(lambda: await_ready(trainer) is None, "finished")
            daemon.start()
        with daemon.client() as client:
            replies = await to_thread(lambda: list(client.sync(paths=[])))
        assert trainer.poll() is None
        (progress,) = last_reports(replies)
        assert (progress.error, progress.committed) == ("", progress.records)
        (folder,) = daemon.state_dir.runs.iterdir()
        writer_id = daemon.writer_id(folder.name)
        assert len(upstream.of_kind(writer_id, EXIT)) == 1
        assert upstream.row_values(writer_id) == numbers(50)
        assert upstream.violations == []
        assert daemon.run_status(folder.name).state == "finished"
        trainer.stdin.close()


async def test_a_gap_is_answered_at_once_each_time_and_what_is_asked_for_is_then_taken(daemon):
    daemon.start()
    trainer = daemon.train("r1", "http://127.0.0.1:9", 10, "wait")
    await eventually(lambda: await_ready(trainer) is None, "rows logged")
    writer_id = daemon.writer_id("r1")
    opening = sidecar_pb2.OpenWriter(
        writer_id=writer_id, run_folder=str(daemon.state_dir.runs / "r1")
    )
    async with grpc.aio.insecure_channel(f"unix:{daemon.state_dir.socket}") as channel:
        call = SidecarStub(channel).Append()

        async def send(first_seq: int, last_seq: int) -> None:
            frames = bytes(32)
            batch = Batch(
                writer_id=writer_id, first_seq=first_seq, last_seq=last_seq,
                crc32=zlib.crc32(frames), frames=frames,
            )  # fmt: skip
            await call.write(sidecar_pb2.AppendRequest(batch=batch))

        async def told() -> int:
            with anyio.fail_after(60):
                return (await anext(replies)).durable_through

        async def durable_through(seq: int) -> None:
            while await told() != seq:
                pass

        await call.write(sidecar_pb2.AppendRequest(open=opening))
        send_replies, replies_in = anyio.create_memory_object_stream[sidecar_pb2.AppendReply](100)

        async def read() -> None:
            async for reply in call:
                await send_replies.send(reply)

        replies = aiter(replies_in)
        async with anyio.create_task_group() as group, send_replies, replies_in:
            group.start_soon(read)
            await told()  # where it stands
            for _ in range(2):
                await send(5, 6)
                assert await told() == 0
            await send(1, 4)
            await durable_through(4)
            await send(5, 6)
            await durable_through(6)
            group.cancel_scope.cancel()
        call.cancel()
