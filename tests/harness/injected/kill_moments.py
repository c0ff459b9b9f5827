"""Moments that lie between no two calls: half a write, a sync under way, an answer not yet handed over."""

import asyncio
import os
import queue
import signal
import threading
import time
from pathlib import Path

from kill_wrapping import after, at_line, before


def torn_row(module, kill):
    """A part of a row's bytes is in the map, its first word is not."""
    original = module.InternedSchema.__init__

    def init(self, schema):
        original(self, schema)
        pack_into = self.pack_into

        def torn(memory, offset, *values):
            if not kill.is_due():
                return pack_into(memory, offset, *values)
            whole = bytearray(self.frame_bytes + 8)  # and the zero word behind
            pack_into(whole, 8, *values)
            share = kill.random.random() if kill.seed else 0.5
            part = whole[8 : 8 + int((self.frame_bytes - 8) * share)]
            memory[offset : offset + len(part)] = part
            return kill.fire()

        self.pack_into = torn

    module.InternedSchema.__init__ = init


def taken_by_grpc(module, kill):
    """gRPC's own thread has taken a batch, which may or may not be on its way."""

    class Queue(queue.Queue):
        def get(self, *args, **kwargs):
            message = super().get(*args, **kwargs)
            if message is not None and message.HasField("batch") and kill.is_due():
                kill.fire()
            return message

    original = module.AppendStream.__init__

    def init(self, **kwargs):
        original(self, **kwargs)
        self._outgoing = Queue(self._outgoing.maxsize)

    module.AppendStream.__init__ = init


def is_journal(_self, fd):
    return Path(f"/proc/self/fd/{fd}").readlink().name.startswith("journal-")


def is_entries(self, fd, _data, offset_bytes):
    return offset_bytes >= 64 and is_journal(self, fd)  # the header is a write of its own


def half_written(module, kill):
    original = module.RealFilesystem.write_at

    def write_at(self, fd, data, offset_bytes):
        if is_entries(self, fd, data, offset_bytes) and kill.is_due():
            share = kill.random.random() if kill.seed else 0.5
            os.pwrite(fd, data[: int(len(data) * share)], offset_bytes)
            kill.fire()
        return original(self, fd, data, offset_bytes)

    module.RealFilesystem.write_at = write_at


def while_syncing(module, kill):
    original = module.RealFilesystem.sync

    def sync(self, fd):
        if is_journal(self, fd) and kill.is_due():
            delay_s = kill.random.random() * 0.002 if kill.seed else 0
            threading.Timer(delay_s, kill.fire).start()
            original(self, fd)
            time.sleep(60)
        return original(self, fd)

    module.RealFilesystem.sync = sync


def at_reply(moment):
    """The acknowledgement of something durable is never, or just, handed to gRPC."""

    def plant(module, kill):
        original = module.AppendStream.serve

        def serve(self, requests, write):
            async def write_and_die(reply):
                is_due = reply.durable_through > 0 and kill.is_due()
                if is_due and moment == "inside":
                    kill.fire()
                await write(reply)
                if is_due:
                    kill.fire()

            return original(self, requests, write_and_die)

        module.AppendStream.serve = serve

    return plant


def while_pushing(module, kill):
    original = module.KeltServer.push

    async def push(self, batches):
        if kill.is_due():
            delay_s = kill.random.random() * 0.02 if kill.seed else 0.001
            asyncio.get_running_loop().call_later(delay_s, kill.fire)
        return await original(self, batches)

    module.KeltServer.push = push


def in_recovery(moment):
    """The daemon that looks at what a killed one left dies too."""
    wrap = {
        "before": before("load_folder", when=lambda path, *_, **__: has_journal(path)),
        "inside": at_line(
            "load_folder", "_restore(folder", when=lambda path, *_, **__: has_journal(path)
        ),
        "after": after("load_folder", when=lambda path, *_, **__: has_journal(path)),
    }[moment]

    def plant(module, kill):
        if (kill.folder / "died-first").exists():
            wrap(module, kill)

    return plant


def has_journal(path):
    return any(Path(path).glob("journal-*.kelt"))


def die_first(module, kill):
    """The first death, by which there is something to recover."""
    original = module.GroupCommitter._settle
    seen = 0

    def settle(self, result):
        nonlocal seen
        seen += bool(result.durable)
        original(self, result)
        if seen == 4:
            kill.fire("died-first")

    module.GroupCommitter._settle = settle


def ask_to_stop(module, kill):
    """SIGTERM in the middle of work; where the stop then gets to is up to the point."""
    original = module.GroupCommitter._settle
    seen = 0

    def settle(self, result):
        nonlocal seen
        seen += bool(result.durable)
        original(self, result)
        if seen == 4 and not (kill.folder / "killed").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    module.GroupCommitter._settle = settle


def short_times(module, _kill):
    """Small segments and short waits, so that a run of a second goes through every phase."""
    original = module.DaemonConfig.__init__
    short = {
        "group_interval_s": 0.002, "first_segment_bytes": 8192, "segment_bytes_max": 8192,
        "rescan_interval_s": 0.2, "settle_s": 0.2, "probe_interval_s": 0.2, "free_lock_s": 0.5,
        "backoff_s_min": 0.02, "backoff_s_max": 0.3, "cursors_save_interval_s": 0.0,
        "retention_interval_s": 0.03, "retention_bytes": 8192, "retention_age_s": 3600.0,
    }  # fmt: skip

    def init(self, **given):
        original(self, **{**short, **given})

    module.DaemonConfig.__init__ = init


def slow_syncs(module, _kill):
    original = module.RealFilesystem.sync
    wait_s = float(os.environ["TORTURE_SYNC_S"])

    def sync(self, fd):
        if is_journal(self, fd):
            time.sleep(wait_s)
        return original(self, fd)

    module.RealFilesystem.sync = sync


def small_spool(module, _kill):
    module.SEGMENT_BYTES_MIN = module.SEGMENT_BYTES_MAX = 32 * 1024
