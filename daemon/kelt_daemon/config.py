"""All bounds and intervals of the daemon."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class DaemonConfig:
    """What the composition root passes on; tests shorten the times."""

    #: How long to stay without live writers once everything is committed, and with a backlog.
    idle_exit_s: float = 600.0
    idle_exit_with_backlog_s: float = 24 * 3600.0
    #: How long a stop may take: until what was accepted is on disk, and altogether.
    drain_s: float = 2.0
    exit_s: float = 8.0

    #: A group of journal writes starts when the first of these is reached.
    group_interval_s: float = 0.02
    group_bytes: int = 256 * KIB
    first_segment_bytes: int = MIB
    segment_bytes_max: int = 64 * MIB
    #: How long to wait before a journal that had no room, or failed twice, is tried again.
    no_room_retry_s: float = 1.0
    broken_retry_s: float = 30.0

    #: Taken from streams and not yet synced; beyond, streams are not read and spools hold the rest.
    unsynced_writer_bytes_max: int = 8 * MIB
    unsynced_total_bytes_max: int = 64 * MIB
    message_bytes_max: int = 9 * MIB + 64 * KIB
    linger_s_min: float = 0.01
    linger_s_max: float = 0.25
    linger_s_per_stream: float = 0.001

    rescan_interval_s: float = 3.0
    #: A folder from another machine is read once it has not changed for this long.
    settle_s: float = 2.0
    probe_interval_s: float = 5.0
    stalled_after_s: float = 60.0
    #: A free lock counts as the writer's end only when it was free for this long.
    free_lock_s: float = 5.0

    push_bytes_max: int = 4 * MIB
    upstream_message_bytes_max: int = 16 * MIB
    pushes_per_folder_max: int = 3
    pushes_per_upstream_max: int = 8
    call_deadline_s: float = 10.0
    push_deadline_s: float = 30.0
    backoff_s_min: float = 0.5
    backoff_s_max: float = 30.0
    breaker_failures: int = 5
    heartbeat_interval_s: float = 15.0
    beats_per_request_max: int = 10_000
    cursors_save_interval_s: float = 1.0

    retention_interval_s: float = 60.0
    retention_age_s: float = 7 * 24 * 3600.0
    retention_bytes: int = 1024 * MIB
    sync_report_interval_s: float = 0.2
    log_bytes_max: int = 8 * MIB
    log_files_max: int = 4

    def linger_s(self, streams: int) -> float:
        """How long an SDK should gather rows before it sends them, with so many streams open."""
        return min(self.linger_s_max, max(self.linger_s_min, streams * self.linger_s_per_stream))
