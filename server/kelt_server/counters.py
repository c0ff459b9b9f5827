"""What has happened in a server since its start; `/api/v1/info` shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """What has happened since the start."""

    batches: int = 0
    batches_repeated: int = 0
    batches_after_gap: int = 0
    batches_damaged_on_the_way: int = 0
    rows: int = 0
    points: int = 0
    records_lost: int = 0
    commits: int = 0
    commits_failed: int = 0
    pushes_refused_busy: int = 0
    pushes_too_large: int = 0
    pushes_forbidden: int = 0
    pushes_of_deleted_runs: int = 0
    beats_dropped: int = 0
    points_packed: int = 0
    packs_failed: int = 0
    #: Of wandb clients: lines of files that are not known, and what a session said beside its rows
    #: before it was known whose they are, beyond what is kept of that.
    wandb_lines_dropped: int = 0
    #: Of wandb clients: posts that found no room in memory, to come again.
    posts_refused_busy: int = 0
    #: What files of runs and artifacts take on the disk, and how many found no room there.
    files_bytes: int = 0
    files_refused: int = 0
