"""The daemon's bounds as `kelt status` shows them: how full, and how often met."""

from __future__ import annotations

from collections.abc import Iterable

from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_proto.v1.sidecar_pb2 import BoundUse


def host_bounds(
    folders: Iterable[RunFolder], committer: GroupCommitter, config: DaemonConfig
) -> list[BoundUse]:
    """Those that all runs share."""
    kept = sum(folder.journal.used_bytes for folder in folders if folder.is_committed)
    return [
        BoundUse(
            name="journals",
            used=committer.quota.usage.used_bytes,
            limit=config.journal_bytes_max,
            unit="bytes",
            policy="rows stay in their spools; each run's own policy decides there",
            met=committer.quota.met,
        ),
        BoundUse(
            name="unsynced",
            used=committer.unsynced_bytes,
            limit=config.unsynced_total_bytes_max,
            unit="bytes",
            policy="streams are not read on; rows stay in their spools",
            met=committer.held_back,
        ),
        BoundUse(
            name="kept after commit",
            used=kept,
            limit=config.retention_bytes,
            unit="bytes",
            policy="the oldest that is committed is deleted",
        ),
    ]


def writers_bound(writers: int, refused: int, config: DaemonConfig) -> BoundUse:
    """That of writers that are open on a stream."""
    return BoundUse(
        name="open writers",
        used=writers,
        limit=config.writers_max,
        unit="writers",
        policy="more are told to come again; their rows stay in their spools",
        met=refused,
    )


def wandb_files_bound(room: FileRoom) -> BoundUse:
    """That of files on their way to W&B servers."""
    return BoundUse(
        name="files for W&B",
        used=room.used_bytes,
        limit=room.limit_bytes,
        unit="bytes",
        policy="more of them, and what follows in their runs, wait in the journals",
        met=room.met,
    )


def run_bounds(folder: RunFolder, config: DaemonConfig) -> list[BoundUse]:
    """Those of one run."""
    cursor = folder.cursor(folder.writer_id)
    return [
        BoundUse(
            name="unsynced",
            used=cursor.unsynced_bytes,
            limit=config.unsynced_writer_bytes_max,
            unit="bytes",
            policy="its stream is not read on; rows stay in its spool",
            met=cursor.held_back,
        )
    ]
