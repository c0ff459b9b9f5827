"""What `kelt sync` is told by the daemon."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.state_dir import StateDir
from kelt_daemon.control import Control
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_proto.v1.sidecar_pb2 import SyncRequest

FOLDERS = 5
NOWHERE = "http://127.0.0.1:9"
pytestmark = pytest.mark.asyncio


async def replies_to_sync(tmp_path, **config):
    """Of a sync of finished runs that the daemon does not know yet."""
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs", **config) as parts:
        paths = [tmp_path / "elsewhere" / f"r{n}" for n in range(FOLDERS)]
        for path in paths:
            make_folder(path, upstream.url, 9, pid=0, pid_start_ticks=1).close()
        control = Control(
            registry=parts.registry, state_dir=StateDir(tmp_path), started_at=0.0,
            config=parts.config, room=FileRoom(limit_bytes=0),
        )  # fmt: skip
        request = SyncRequest(paths=[*map(str, paths), str(tmp_path / "nothing")])
        return [reply async for reply in control.sync(request)]


def split(replies):
    """Those that only say that it goes on, before the first that tells of folders; the rest."""
    first = next(n for n, reply in enumerate(replies) if reply.folders)
    return replies[:first], replies[first:]


async def test_while_folders_are_read_it_says_after_each_that_it_goes_on(tmp_path):
    while_reading, rest = split(await replies_to_sync(tmp_path, sync_report_interval_s=0.0))
    assert len(while_reading) == FOLDERS
    assert not any(reply.done for reply in while_reading)
    assert {folder.path.rpartition("/")[2] for folder in rest[0].folders} == {
        "nothing", *(f"r{n}" for n in range(FOLDERS)),
    }  # fmt: skip
    assert [reply.done for reply in rest] == [False] * (len(rest) - 1) + [True]


async def test_what_is_sent_while_others_are_still_read_does_not_count_as_there_before(tmp_path):
    async with (
        MemoryUpstream() as upstream,
        daemon_parts(tmp_path / "runs", sync_report_interval_s=0.0) as parts,
    ):
        paths = [tmp_path / "elsewhere" / f"r{n}" for n in range(2)]
        for path in paths:
            make_folder(path, upstream.url, 9, pid=0, pid_start_ticks=1).close()
        control = Control(
            registry=parts.registry, state_dir=StateDir(tmp_path), started_at=0.0,
            config=parts.config, room=FileRoom(limit_bytes=0),
        )  # fmt: skip
        told = {}
        async for reply in control.sync(SyncRequest(paths=map(str, paths))):
            if not reply.folders:  # one of them has been read
                await parts.until(lambda: upstream.cursors, "sent at once")
            told |= {folder.path: folder for folder in reply.folders}
        assert [(folder.committed, folder.skipped) for folder in told.values()] == [(10, 0)] * 2


async def test_in_the_end_every_folder_is_synced_or_told_with_a_reason(tmp_path):
    told = {}
    for reply in await replies_to_sync(tmp_path, sync_report_interval_s=0.05):
        told |= {folder.path.rpartition("/")[2]: folder for folder in reply.folders}
    assert "holds no run folder" in told.pop("nothing").error
    assert all(folder.is_synced and folder.committed == 10 for folder in told.values())


class SlowUpstream(MemoryUpstream):
    """Takes a push once it may."""

    async def Push(self, request, context):  # noqa: N802 # the name in upstream.proto
        await self.may_take.wait()
        return await super().Push(request, context)


async def test_an_upstream_that_is_away_is_not_told_while_another_is_being_sent_to(tmp_path):
    upstream = SlowUpstream()
    upstream.may_take = asyncio.Event()
    async with (
        upstream,
        daemon_parts(tmp_path / "runs", sync_report_interval_s=0.01) as parts,
    ):
        paths = [tmp_path / "elsewhere" / name for name in ("there", "away")]
        for path, url in zip(paths, (upstream.url, NOWHERE), strict=True):
            make_folder(path, url, 9, pid=0, pid_start_ticks=1).close()
        control = Control(
            registry=parts.registry, state_dir=StateDir(tmp_path), started_at=0.0,
            config=parts.config, room=FileRoom(limit_bytes=0),
        )  # fmt: skip
        told = set()
        with anyio.fail_after(60):
            async for reply in control.sync(SyncRequest(paths=map(str, paths))):
                links = {link.url: link for link in parts.registry.links.all()}
                state = reply.upstream_state
                if len(links) == 2 and not links[NOWHERE].is_ready and links[upstream.url].is_ready:
                    told.add((state.url, upstream.may_take.is_set()))
                    if links[NOWHERE].report.reason:
                        upstream.may_take.set()
                if (NOWHERE, True) in told:
                    break
        assert (NOWHERE, False) not in told
        assert upstream.cursors
