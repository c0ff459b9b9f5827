"""Kills its own process in the middle of a named phase, by wrapping the phase's function at import.

    TORTURE_POINT    phase:moment:nth:seed, the nth occurrence counted from 1
    TORTURE_SYNC_S   how long every sync of a journal takes, for daemons that are to be caught at it
    TORTURE_FOLDER   where the victim leaves its mark, so that each point kills once and is proved

The production code holds no hook: a finder on `sys.meta_path` changes a module right after it was
executed, before anybody can import a name out of it. Where a moment lies inside a function, a trace
of that one call kills before the line that holds a given text is executed; a text that is no
longer there fails the import, and so the test. With a seed other than 0 the line is drawn.
"""

import asyncio
import importlib.machinery
import inspect
import json
import os
import queue
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

LINES_MAX = 40


class Kill:
    """The one kill of this process: where it is marked, and which occurrence it is."""

    def __init__(self, *, folder, point, nth, seed):
        self.folder = Path(folder)
        self.point = point
        self.nth = nth
        self.seed = seed
        self.random = random.Random(f"{point}:{nth}:{seed}")
        self._seen = 0
        self._lock = threading.Lock()

    def is_due(self):
        """Counts an occurrence; true for the one that is meant, unless somebody died of it before."""
        with self._lock:
            self._seen += 1
            return self._seen == self.nth and not (self.folder / "killed").exists()

    def fire(self, mark="killed"):
        """Dies, if nobody died of this before."""
        try:
            fd = os.open(self.folder / mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        os.write(fd, json.dumps({"pid": os.getpid(), "point": self.point}).encode())
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


@dataclass(frozen=True)
class Point:
    role: str
    module: str
    plant: object
    nth: int = 1


# -- ways of wrapping --------------------------------------------------------------------------------


def owner_of(module, path):
    *parents, name = path.split(".")
    owner = module
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


def before(path, *, when=lambda *_, **__: True):
    def plant(module, kill):
        owner, name = owner_of(module, path)
        original = getattr(owner, name)

        def wrapped(*args, **kwargs):
            if when(*args, **kwargs) and kill.is_due():
                kill.fire()
            return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    return plant


def after(path, *, when=lambda *_, **__: True):
    """Once it returned; an `async` one once it was awaited."""

    def plant(module, kill):
        owner, name = owner_of(module, path)
        original = getattr(owner, name)

        async def awaited(call):
            result = await call
            kill.fire()
            return result

        def wrapped(*args, **kwargs):
            is_due = when(*args, **kwargs) and kill.is_due()
            result = original(*args, **kwargs)
            if is_due and inspect.isawaitable(result):
                return awaited(result)
            if is_due:
                kill.fire()
            return result

        setattr(owner, name, wrapped)

    return plant


def at_line(path, text, *, when=lambda *_, **__: True):
    """Before the line of the function that holds `text`; with a seed, before a drawn one."""

    def plant(module, kill):
        owner, name = owner_of(module, path)
        original = getattr(owner, name)
        lines, first = inspect.getsourcelines(original)
        chosen = {first + i for i, line in enumerate(lines) if text in line}
        if not chosen:
            raise RuntimeError(f"{path} has no line with {text!r} any more")
        drawn = kill.random.randrange(1, LINES_MAX) if kill.seed else 0
        code = original.__code__

        def trace_lines(frame, event, _argument):
            nonlocal drawn
            if event == "line":
                drawn -= 1
                if (not kill.seed and frame.f_lineno in chosen) or (kill.seed and drawn <= 0):
                    kill.fire()
            elif event == "return":
                kill.fire()
            return trace_lines

        def trace(frame, _event, _argument):
            return trace_lines if frame.f_code is code else None

        def wrapped(*args, **kwargs):
            if not (when(*args, **kwargs) and kill.is_due()):
                return original(*args, **kwargs)
            sys.settrace(trace)
            try:
                return original(*args, **kwargs)
            finally:
                sys.settrace(None)

        setattr(owner, name, wrapped)

    return plant


# -- what is special -----------------------------------------------------------------------------------


def torn_row(module, kill):
    """A part of a row's bytes is in the map, its first word is not."""
    original = module.InternedSchema.__init__

    def init(self, schema):
        original(self, schema)
        pack_into = self.pack_into

        def torn(memory, offset, *values):
            if not kill.is_due():
                return pack_into(memory, offset, *values)
            whole = bytearray(self.frame_bytes)
            pack_into(whole, 8, *values)
            share = kill.random.random() if kill.seed else 0.5
            part = whole[8 : 8 + int((len(whole) - 8) * share)]
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

    def init(self):
        original(self)
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
        original = module._AppendStream.serve

        def serve(self, requests, write):
            async def write_and_die(reply):
                is_due = reply.durable_through > 0 and kill.is_due()
                if is_due and moment == "inside":
                    kill.fire()
                await write(reply)
                if is_due:
                    kill.fire()

            return original(self, requests, write_and_die)

        module._AppendStream.serve = serve

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


# -- the points ----------------------------------------------------------------------------------------


def has_pushes(_self, pushes, beats=()):
    return bool(pushes)


def has_batches(_self, batches):
    return bool(batches)


def has_entries(entries, *_, **__):
    return bool(entries)


def has_durable(_self, result):
    return bool(result.durable)


def has_blocks(_self, blocks, _cursors):
    return bool(blocks)


def is_branching(**given):
    return given["opening"].kind in {"forked", "rewound"}


def is_rotation(self, _entry_bytes):
    return bool(self.segments)


def is_sized_rotation(self, _bytes_max):
    return bool(self.segments)


def is_cursors(path, *_, **__):
    return path.name == "cursors.json"


_FS, _COMMIT = "kelt_daemon.filesystem", "kelt_daemon.commit"
_SPOOL, _CLIENT, _LINK = "kelt.journal.spool", "kelt.sidecar_client", "kelt.daemon_link"
_JOURNAL, _UPSTREAM = "kelt_daemon.journal", "kelt_daemon.upstream.kelt_server"
_LOADING, _CURSORS = "kelt_daemon.folder_loading", "kelt_daemon.cursors"
_GROUP, _STORE = "kelt_server.ingest.group", "kelt_server.metrics.duckdb_store"

POINTS = {
    "spool_write:before": Point("trainer", _SPOOL, before("SpoolWriter.append_row"), 500),
    "spool_write:inside": Point("trainer", _SPOOL, torn_row, 500),
    "spool_write:after": Point("trainer", _SPOOL, after("SpoolWriter.append_row"), 500),
    "spool_rotate:before": Point("trainer", _SPOOL, before("SpoolWriter._rotate"), 2),
    "spool_rotate:inside": Point(
        "trainer", _SPOOL,
        at_line("SpoolWriter._activate", "self.segments.append", when=lambda self, _s: self.segments),
        2,
    ),
    "spool_rotate:after": Point("trainer", _SPOOL, after("SpoolWriter._rotate"), 2),
    "rpc_send:before": Point("trainer", _LINK, before("DaemonLink.send"), 4),
    "rpc_send:inside": Point("trainer", _CLIENT, taken_by_grpc, 4),
    "rpc_send:after": Point("trainer", _LINK, after("DaemonLink.send"), 4),
    "journal_append:before": Point(
        "daemon", _FS, before("RealFilesystem.write_at", when=is_entries), 4
    ),
    "journal_append:inside": Point("daemon", _FS, half_written, 4),
    "journal_append:after": Point(
        "daemon", _FS, after("RealFilesystem.write_at", when=is_entries), 4
    ),
    "fdatasync:before": Point("daemon", _FS, before("RealFilesystem.sync", when=is_journal), 4),
    "fdatasync:inside": Point("daemon", _FS, while_syncing, 4),
    "fdatasync:after": Point("daemon", _FS, after("RealFilesystem.sync", when=is_journal), 4),
    "ack:before": Point("daemon", _COMMIT, before("GroupCommitter._settle", when=has_durable), 4),
    "ack:inside": Point("daemon", "kelt_daemon.ingest", at_reply("inside"), 4),
    "ack:after": Point("daemon", "kelt_daemon.ingest", at_reply("after"), 4),
    "segment_rotate:before": Point("daemon", _JOURNAL, before("Journal._create", when=is_rotation), 2),
    "segment_rotate:inside": Point(
        "daemon", _JOURNAL,
        at_line(
            "Journal._create_sized", "encode_journal_header(header), 0)", when=is_sized_rotation
        ),
        2,
    ),
    "segment_rotate:after": Point("daemon", _JOURNAL, after("Journal._create", when=is_rotation), 2),
    "batch_build:before": Point("daemon", "kelt_daemon.batch", before("gather", when=has_entries), 3),
    "batch_build:inside": Point(
        "daemon", "kelt_daemon.batch",
        at_line("gather", "push.sent_through[entry.writer_id] =", when=has_entries), 3,
    ),
    "batch_build:after": Point("daemon", "kelt_daemon.batch", after("gather", when=has_entries), 3),
    "upstream_send:before": Point("daemon", _UPSTREAM, before("KeltServer.push"), 3),
    "upstream_send:inside": Point("daemon", _UPSTREAM, while_pushing, 3),
    "upstream_send:after": Point("daemon", _UPSTREAM, after("KeltServer.push"), 3),
    "committed_ack_lost:before": Point(
        "server", _GROUP, before("GroupCommitter.commit", when=has_pushes), 3
    ),
    "committed_ack_lost:inside": Point(
        "server", _STORE, before("DuckDBStore.commit", when=has_blocks), 3
    ),
    "committed_ack_lost:after": Point(
        "server", _GROUP, after("GroupCommitter.commit", when=has_pushes), 3
    ),
    "cursor_save:before": Point("daemon", _CURSORS, before("_replace", when=is_cursors), 3),
    "cursor_save:inside": Point(
        "daemon", _CURSORS, at_line("_replace", "rename(partial, path)", when=is_cursors), 3
    ),
    "cursor_save:after": Point("daemon", _CURSORS, after("_replace", when=is_cursors), 3),
    "gc:before": Point("daemon", "kelt_daemon.retention", before("_drop"), 1),
    "gc:inside": Point("daemon", "kelt_daemon.retention", at_line("_drop", "journal.drop("), 1),
    "gc:after": Point("daemon", "kelt_daemon.retention", after("_drop"), 1),
    "recovery:before": Point("daemon", _LOADING, in_recovery("before")),
    "recovery:inside": Point("daemon", _LOADING, in_recovery("inside")),
    "recovery:after": Point("daemon", _LOADING, in_recovery("after")),
    "fork_rewind:before": Point("trainer", "kelt.session", before("open_session", when=is_branching)),
    "fork_rewind:inside": Point(
        "trainer", "kelt.session",
        at_line("open_session", "append_control(Kind.RUN_OPENED", when=is_branching),
    ),
    "fork_rewind:after": Point("trainer", "kelt.session", after("open_session", when=is_branching)),
    "spawn_handover_shutdown:before": Point("trainer", "kelt.launcher", before("_spawn")),
    "spawn_handover_shutdown:inside": Point(
        "daemon", "kelt_daemon.instance", before("write_record")
    ),
    "spawn_handover_shutdown:after": Point("daemon", "kelt_daemon.ingest", after("Ingest.stop")),
}  # fmt: skip

ALWAYS = {
    ("daemon", "kelt_daemon.config"): short_times,
    ("trainer", _SPOOL): small_spool,
}
BESIDE = {"recovery": die_first, "spawn_handover_shutdown:after": ask_to_stop}


class Finder:
    """Changes modules right after they were executed."""

    def __init__(self, plants, kill):
        self._plants, self._kill = plants, kill

    def find_spec(self, name, path=None, _target=None):
        plants = self._plants.get(name)
        if not plants:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_plant(module):
            execute(module)
            for plant in plants:
                plant(module, self._kill)

        spec.loader.exec_module = execute_and_plant
        return spec


def role_of(argv):
    for mark, role in (
        ("kelt_daemon", "daemon"), ("kelt_server", "server"), ("kill_point_trainer.py", "trainer")
    ):  # fmt: skip
        if any(mark in argument for argument in argv):
            return role
    return ""


def install(environ):
    """Plants the point of the environment in this process, if it plays the victim's part."""
    phase, moment, nth, seed = environ["TORTURE_POINT"].split(":")
    role = role_of(sys.orig_argv)
    name = f"{phase}:{moment}"
    kill = Kill(folder=environ["TORTURE_FOLDER"], point=name, nth=int(nth), seed=int(seed))
    point = POINTS.get(name)
    plants = {}
    if point is not None:
        plants = {module: [plant] for (part, module), plant in ALWAYS.items() if part == role}
    if "TORTURE_SYNC_S" in environ and role == "daemon":
        plants.setdefault(_FS, []).append(slow_syncs)
    if point is not None and point.role == role:
        plants.setdefault(point.module, []).append(point.plant)
        beside = BESIDE.get(name) or BESIDE.get(phase)
        if beside is not None:
            plants.setdefault(_COMMIT, []).append(beside)
    if role:
        sys.meta_path.insert(0, Finder(plants, kill))
