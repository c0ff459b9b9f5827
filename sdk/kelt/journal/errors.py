"""What can be wrong with the files of a run folder."""

from __future__ import annotations

from pathlib import Path


class JournalError(Exception):
    """The base of this package's errors.

    Args:
        reason: what is wrong, as a sentence without a full stop.
        path: the file or folder.
    """

    def __init__(self, reason: str, *, path: Path) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason
        self.path = path


class DamagedSegmentError(JournalError):
    """A segment whose header cannot be read: nothing in it can be trusted to be ours."""


class NoSpaceError(JournalError):
    """A segment could not be allocated: the disk or the quota is full."""
