"""Folders that are looked at while they come, or by somebody who goes away meanwhile."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import anyio
import pytest

import kelt_daemon.registry
from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import LOSS, MemoryUpstream
from kelt_daemon.errors import FolderProblemError

TEN_YEARS_S = 10 * 365 * 86400.0

pytestmark = pytest.mark.asyncio


async def arrive(parts, upstream, writer_id, through):
    """Until the upstream has it all, while the daemon looks around as it always does."""
    with anyio.fail_after(60):
        while upstream.cursors[writer_id] < through:
            await parts.registry.rescan()
            await anyio.sleep(0.02)
    assert upstream.violations == []


@pytest.mark.parametrize("there", ["nothing", "half of it"])
async def test_a_folder_looked_at_before_its_run_json_is_whole_is_taken_once_it_is(tmp_path, there):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream, daemon_parts(runs) as parts:
        spool = make_folder(runs / "r", upstream.url, 50, machine_id="another")
        spool.close()
        manifest = runs / "r" / "run.json"
        whole = manifest.read_bytes()
        manifest.write_bytes(whole[: len(whole) // 2])
        if there == "nothing":
            manifest.unlink()
            read = kelt_daemon.registry.checked_manifest

            def arrives_just_afterwards(path):
                try:
                    return read(path)
                finally:
                    manifest.write_bytes(whole)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(kelt_daemon.registry, "checked_manifest", arrives_just_afterwards)
                with pytest.raises(FolderProblemError, match="not a run folder"):
                    await parts.adopt(runs / "r")
        else:
            await parts.registry.rescan()
        assert list(parts.registry.parked) == [runs / "r"]
        manifest.write_bytes(whole)
        await arrive(parts, upstream, spool.writer_id, 51)
        assert parts.registry.parked == {}


@pytest.mark.covers(phase="rpc_send", fault="KILL trainer")
async def test_a_folder_whose_trainer_went_away_while_it_was_being_read_is_minded(
    tmp_path, monkeypatch
):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream, daemon_parts(runs) as parts:
        spool = make_folder(tmp_path / "elsewhere" / "r", upstream.url, 50, pid=0)
        spool.close()
        load = kelt_daemon.registry.load_folder
        with anyio.CancelScope() as stream:

            def load_while_the_stream_ends(*args, **kwargs):
                anyio.from_thread.run_sync(stream.cancel)
                return load(*args, **kwargs)

            monkeypatch.setattr(kelt_daemon.registry, "load_folder", load_while_the_stream_ends)
            await parts.adopt(tmp_path / "elsewhere" / "r")
        assert stream.cancel_called
        await arrive(parts, upstream, spool.writer_id, 51)
        assert (runs / "r").is_symlink()


async def test_what_comes_into_a_copy_while_the_rest_of_it_is_being_sent_is_read_too(
    tmp_path, monkeypatch
):
    runs = tmp_path / "runs"
    upstream = MemoryUpstream()
    await upstream.start()
    spool = make_folder(runs / "r", upstream.url, 50, machine_id="another")
    spool.close()
    path = runs / "r" / "spool-000001.kelt"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    os.utime(path, (1, 1))
    await upstream.stop()
    async with daemon_parts(runs) as parts:
        folder = await parts.adopt(runs / "r")
        await parts.until(lambda: folder.is_over and folder.durable_records, "half of it read")
        assert folder.durable_records < 51
        path.write_bytes(whole)
        await upstream.start()
        try:
            await arrive(parts, upstream, spool.writer_id, 51)
        finally:
            await upstream.stop()


@pytest.mark.covers(phase="recovery", fault="clock")
@pytest.mark.parametrize("jumps", ["before it is seen", "while it is watched"])
async def test_a_clock_that_jumps_gives_up_nothing_of_a_copy_that_is_still_coming(tmp_path, jumps):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream, daemon_parts(runs) as parts:
        spool = make_folder(runs / "r", upstream.url, 9000, machine_id="another")
        spool.close()
        first, *others = sorted((runs / "r").glob("spool-*.kelt"))
        assert others
        first.rename(tmp_path / "later")
        jumped = replace(parts.registry.host, now=lambda: time.time() + TEN_YEARS_S)
        if jumps == "before it is seen":
            parts.registry.host = jumped
        folder = await parts.adopt(runs / "r")
        await parts.until(lambda: folder in parts.registry.settled(), "read as far as it goes")
        assert "lacks records" in folder.incomplete
        parts.registry.host = jumped
        for _ in range(20):
            await parts.registry.rescan()
            await anyio.sleep(0.02)
        assert upstream.cursors[spool.writer_id] == 0
        (tmp_path / "later").rename(first)
        await arrive(parts, upstream, spool.writer_id, 9001)
        assert not any(r.kind == LOSS for r in upstream.records[spool.writer_id].values())
