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
    #: How many journals of a group are written and synced at a time.
    commit_threads_max: int = 8
    first_segment_bytes: int = MIB
    segment_bytes_max: int = 64 * MIB
    #: How long to wait before a journal that had no room is tried again, and what failed otherwise:
    #: each failure in a row doubles that.
    no_room_retry_s: float = 1.0
    broken_retry_s_min: float = 1.0
    broken_retry_s_max: float = 30.0

    #: Taken from streams and not yet synced; beyond, streams are not read and spools hold the rest.
    unsynced_writer_bytes_max: int = 8 * MIB
    unsynced_total_bytes_max: int = 64 * MIB
    message_bytes_max: int = 9 * MIB + 64 * KIB
    metadata_bytes_max: int = 8 * KIB
    calls_per_connection_max: int = 64
    #: Writers that are open on streams. A thousand runs on a host are usual, each with one.
    writers_max: int = 4096
    writers_per_stream_max: int = 256
    linger_s_min: float = 0.05
    linger_s_max: float = 0.25
    linger_s_per_writer: float = 0.001
    #: How long word of a commit upstream may wait for word of something durable to go with.
    committed_reply_s: float = 0.5

    rescan_interval_s: float = 3.0
    #: A copy of a run folder counts as whole once it has not changed for this long, and damaged
    #: bytes in it as damage, and what is missing in it as lost.
    settle_s: float = 2.0
    damage_settle_s: float = 10.0
    missing_settle_s: float = 24 * 3600.0
    #: How many copies and spools are read at a time, and how many whole runs are sent at a time.
    imports_max: int = 8
    replays_per_upstream_max: int = 4
    #: How often a run is looked at that is followed while it is written.
    follow_interval_s: float = 1.0
    probe_interval_s: float = 5.0
    stalled_after_s: float = 60.0
    #: A free lock counts as the writer's end only when it was free for this long.
    free_lock_s: float = 5.0

    push_bytes_max: int = 4 * MIB
    upstream_message_bytes_max: int = 16 * MIB
    #: Between the pushes of a run that goes on, unless a whole one waits.
    push_interval_s: float = 0.1
    pushes_per_folder_max: int = 3
    pushes_per_upstream_max: int = 32
    #: About what all of them together take: the more are under way, the smaller the next one is.
    pushes_bytes_max: int = 32 * MIB
    call_deadline_s: float = 10.0
    #: Longer than another call's, because it is answered after the commit.
    push_deadline_s: float = 30.0
    #: Of what is said of an artifact; of a file this, and what it takes on a slow way.
    artifact_deadline_s: float = 120.0
    artifact_bytes_per_s_min: int = 64 * KIB
    #: How many are sent at a time, of different runs.
    artifacts_at_a_time_max: int = 4
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 10.0
    backoff_s_min: float = 0.5
    backoff_s_max: float = 30.0
    breaker_failures: int = 5
    retry_share: float = 0.1
    retry_reserve: float = 10.0
    #: Losses within this time after one that was told are only counted.
    flap_quiet_s: float = 60.0
    #: Pushes become as small as this on a way that is too slow for larger ones.
    push_bytes_min: int = 16 * KIB
    #: So many refused records in a row are no accident: the folder is parked.
    refused_in_row_max: int = 16
    #: So often in a row "not yet" may be said of a run before it counts as a refusal.
    not_yet_max: int = 8
    #: A key or a run that was refused is tried again this often, should nobody ask for it before.
    refused_retry_s: float = 300.0
    heartbeat_interval_s: float = 15.0
    #: A W&B server gets one post of a run in this time, as from W&B's own client, and an empty one
    #: where there was none for that long.
    wandb_post_interval_s: float = 15.0
    wandb_heartbeat_s: float = 30.0
    #: What files that W&B servers have not taken yet may hold in run folders, all together.
    wandb_files_bytes_max: int = 16 * 1024 * MIB
    beats_per_request_max: int = 10_000
    cursors_save_interval_s: float = 1.0

    retention_interval_s: float = 60.0
    retention_age_s: float = 7 * 24 * 3600.0
    retention_bytes: int = 1024 * MIB
    #: What all journals of the host may take: beyond, rows stay in their spools. The reserve behind
    #: is for control records and for what the daemon itself says.
    journal_bytes_max: int = 16 * 1024 * MIB
    journal_reserve_bytes: int = 64 * MIB
    sync_report_interval_s: float = 0.2
    log_bytes_max: int = 8 * MIB
    log_files_max: int = 4

    def linger_s(self, writers: int) -> float:
        """How long an SDK should gather rows before it sends them, with so many writers open."""
        return min(self.linger_s_max, max(self.linger_s_min, writers * self.linger_s_per_writer))
