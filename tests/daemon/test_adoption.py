"""Folders that are looked at while they come, or by somebody who goes away meanwhile."""

from __future__ import annotations

import os

import anyio
import pytest

import kelt_daemon.registry
from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt_daemon.errors import FolderProblemError

pytestmark = pytest.mark.asyncio


async def arrive(parts, upstream, writer_id, through):
    """Until the upstream has it all, while the daemon looks around as it always does."""
    with anyio.fail_after(20):
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
