"""What came of a sync."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SyncedRun:
    """What came of one run folder.

    Attributes:
        is_synced: the upstream said that it has committed all that the folder held.
        records: the trainer's records found, ever.
        committed: of them, what the upstream has.
        sent: of those, what it had not had before.
        skipped: of those, what it had had before.
        rows: rows of the history among what was sent.
        lost_rows: rows that were lost on the way and are shown so on the run.
        error: why it could not be sent, with the remedy; empty where nothing stands against it.
        note: what else there is to say: what of a W&B file was not carried over, artifacts.
    """

    path: Path
    entity: str = ""
    project: str = ""
    run_id: str = ""
    upstream: str = ""
    is_synced: bool = False
    records: int = 0
    committed: int = 0
    sent: int = 0
    skipped: int = 0
    rows: int = 0
    lost_rows: int = 0
    error: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The run, or the folder where it cannot be read."""
        named = "/".join(part for part in (self.entity, self.project, self.run_id) if part)
        return named or str(self.path)


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """What came of a sync.

    Attributes:
        runs: each run folder, in the order in which they were named.
        error: what kept it from being completed, in a sentence; empty where all is upstream.
        is_unreachable: whether that is the daemon or an upstream out of reach.
        is_interrupted: whether it was given up by Ctrl-C; the daemon goes on.
        is_dry_run: whether nothing was to be sent: the counts are then what would be.
    """

    runs: tuple[SyncedRun, ...] = ()
    error: str = ""
    is_unreachable: bool = False
    is_interrupted: bool = False
    is_dry_run: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the upstream has all of it."""
        return not self.is_dry_run and not self.error and all(run.is_synced for run in self.runs)

    @property
    def synced(self) -> int:
        """Runs that the upstream has wholly."""
        return sum(run.is_synced for run in self.runs)

    @property
    def records_sent(self) -> int:
        """Records that the upstream had not had before."""
        return sum(run.sent for run in self.runs)

    @property
    def records_skipped(self) -> int:
        """Records that it had had before."""
        return sum(run.skipped for run in self.runs)

    @property
    def rows_sent(self) -> int:
        """Rows among the records sent."""
        return sum(run.rows for run in self.runs)

    @property
    def lost_rows(self) -> int:
        """Rows lost before, all runs together."""
        return sum(run.lost_rows for run in self.runs)
