"""What can go wrong, by what is to be done about it.

RetryableError       time may mend it
  UnreachableError     there is no answer: the connection is given up and made anew
    TooSlowError         not in time: less is sent at once
  OverloadedError      there is an answer, and it is an error: the call is repeated
RefusedError         a person must act (key, version); nothing is tried meanwhile
RejectedDataError    the upstream will never take these records: the one at fault is looked for
  TooLargeError        or not in a message of this size: sent in smaller ones
RunGoneError         the upstream has deleted the run: its folder is parked
RunForbiddenError    the key does not open the run's entity: likewise; other runs go on
JournalFullError     no room: tried again, nothing is acknowledged meanwhile
JournalBrokenError   the disk fails to sync twice: tried again, later
FolderProblemError   a run folder cannot be used as it is
CallRefusedError     a caller is told why what it asked for is not done
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path


class DaemonError(Exception):
    """The base. The message is one sentence for people: thing, reason, remedy."""


class AlreadyRunningError(DaemonError):
    """Another daemon serves this state folder."""


class UpstreamError(DaemonError):
    """An upstream did not do what was asked."""


class RetryableError(UpstreamError):
    """Worth trying again.

    Args:
        message: the sentence.
        retry_after_s: what the upstream asked for, or None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreachableError(RetryableError):
    """No answer: not there, not in time, or the connection broke."""


class TooSlowError(UnreachableError):
    """No answer in time."""


class OverloadedError(RetryableError):
    """An answer that says: not now."""


class RefusedError(UpstreamError):
    """The key or the version is not accepted."""


class RejectedDataError(UpstreamError):
    """These records are not accepted, however often they are sent."""


class TooLargeError(RejectedDataError):
    """Not accepted in a message of this size."""


class RunGoneError(UpstreamError):
    """The run was deleted there."""


class RunForbiddenError(UpstreamError):
    """The key is accepted there, and does not open the run's entity."""


class JournalFullError(DaemonError):
    """There is no room for a journal."""


class JournalBrokenError(DaemonError):
    """The disk failed to sync a journal twice in a row."""


class FolderProblemError(DaemonError):
    """A run folder that cannot be used as it is.

    Args:
        message: the sentence.
        is_temporary: whether time may mend it: a full disk, too many open files.
    """

    def __init__(self, message: str, *, is_temporary: bool = False) -> None:
        super().__init__(message)
        self.is_temporary = is_temporary


class Refusal(Enum):
    """Why a call is not served."""

    MISTAKE = "the caller's own mistake"
    UNUSABLE = "what it names cannot be used"
    CHANGED = "it was changed on its way"
    AWAY = "not now"
    TOO_MANY = "a bound was met"


class CallRefusedError(DaemonError):
    """A call that is not served.

    Args:
        refusal: why.
        message: the sentence.
    """

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


def cause_of(error: BaseException) -> BaseException:
    """The first error in a group of them."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]  # type: ignore[attr-defined] # a group of task errors
    return error


def sentence_of(error: BaseException, path: Path) -> str:
    """What keeps a run folder from being used, for people."""
    error = cause_of(error)
    if isinstance(error, OSError):
        return (
            f"{path} cannot be used ({error.strerror or error}); mend that, then run `kelt sync`."
        )
    return (
        f"{path} could not be handled ({type(error).__name__}: {error}); nothing was deleted. "
        "Run `kelt sync` to try again."
    )
