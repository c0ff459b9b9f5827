"""The table of points: in which process and function each phase lies, and how its moments are met.

The number is the occurrence that dies where the seed is 0. What a point wants of the arguments is
beside it, so that a call that does no work does not count.
"""

from dataclasses import dataclass

from kill_moments import (
    ask_to_stop,
    at_reply,
    die_first,
    half_written,
    in_recovery,
    is_entries,
    is_journal,
    short_times,
    small_spool,
    taken_by_grpc,
    torn_row,
    while_pushing,
    while_syncing,
)
from kill_wrapping import after, at_line, before


@dataclass(frozen=True)
class Point:
    role: str
    module: str
    plant: object
    nth: int = 1


def has_pushes(_self, pushes, beats=()):
    return bool(pushes)


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


def is_sized_rotation(*_, before, **__):
    return bool(before)


def is_cursors(path, *_, **__):
    return path.name == "cursors.json"


_FS, _COMMIT = "kelt_daemon.filesystem", "kelt_daemon.commit"
_SPOOL, _CLIENT, _LINK = "kelt.journal.spool", "kelt.append_stream", "kelt.daemon_link"
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
    "ack:inside": Point("daemon", "kelt_daemon.append_stream", at_reply("inside"), 4),
    "ack:after": Point("daemon", "kelt_daemon.append_stream", at_reply("after"), 4),
    "segment_rotate:before": Point("daemon", _JOURNAL, before("Journal._create", when=is_rotation), 2),
    "segment_rotate:inside": Point(
        "daemon", "kelt_daemon.journal_segments",
        at_line("create_segment", "encode_journal_header(header), 0)", when=is_sized_rotation),
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
    ("trainer", "kelt.journal.spool_room"): small_spool,
}
BESIDE = {"recovery": die_first, "spawn_handover_shutdown:after": ask_to_stop}
