from __future__ import annotations

import anyio
import pytest
from server.stand import NOW, Stand
from server.streams import simple_run

from kelt_server.errors import BusyError
from kelt_server.facts import LifeSign
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.pushes import WriterAck

pytestmark = pytest.mark.anyio


def committer(stand: Stand, *, queue_bytes_max: int = 2**20) -> Committer:
    return Committer(
        stand.group,
        counters=stand.counters,
        queue_bytes_max=queue_bytes_max,
        group_bytes_max=2**20,
    )


async def test_what_waits_together_is_committed_together(stand: Stand) -> None:
    queue, acks = committer(stand), list[WriterAck]()

    async def push(number: int) -> None:
        stream = simple_run(number, run_id=f"r{number}", branch_id=f"b{number}")
        acks.extend(await queue.push(stream.batches()))

    async with anyio.create_task_group() as tasks:
        for number in range(1, 11):
            tasks.start_soon(push, number)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(queue.run)
        with anyio.fail_after(60):
            while len(acks) < 10:  # noqa: ASYNC110 # ten tasks, one count
                await anyio.sleep(0.01)
        queue.stop()
    assert {ack.committed_through for ack in acks} == {4}
    assert stand.counters.commits == 1


async def test_a_full_queue_refuses_and_counts(stand: Stand) -> None:
    queue, stream = committer(stand, queue_bytes_max=1), simple_run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.push, [stream.batch(1, 2)])
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BusyError, match="send it again"):
            await queue.push([stream.batch(3, 4)])
        tasks.start_soon(queue.run)
        queue.stop()
    assert stand.counters.pushes_refused_busy == 1
    assert len(stand.rows("run")) == 1  # what was taken before the stop is committed


async def test_nothing_is_taken_while_stopping(stand: Stand) -> None:
    queue = committer(stand)
    queue.stop()
    with pytest.raises(BusyError, match="stopping"):
        await queue.push(simple_run().batches())


async def test_a_beat_is_written_without_data(stand: Stand) -> None:
    stream = simple_run()
    stand.push(stream.batches())
    queue = committer(stand)
    queue.beat([LifeSign(stream.writer_id, NOW + 5.0, stalled=False)])
    queue.stop()
    await queue.run()
    assert stand.run("run")["heartbeat_at"] == NOW + 5.0
