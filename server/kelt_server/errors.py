"""The server's own errors. What others raise is mapped where it enters."""

from __future__ import annotations

from pathlib import Path


class KeltServerError(Exception):
    """Base of everything below; its text is a sentence for people."""


class StartError(KeltServerError):
    """The server cannot start; the sentence says why and what to do. Exit code 1."""


class NewerStoreError(StartError):
    """A store that a newer kelt wrote: no damage, so it is left as it is."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was written by a newer kelt; start that version again, or choose another "
            "folder with --dir"
        )


class StoreError(KeltServerError):
    """A store could not write or read. What was asked may be asked again."""


class BusyError(KeltServerError):
    """The queue in front of the committer is full, or the server is stopping."""


class TooLargeError(KeltServerError):
    """A push that is larger than the limit which Hello names."""


class NoRoomError(KeltServerError):
    """There is no room for more files; the sentence says who can make some."""


class BadBatchError(KeltServerError):
    """A batch that did not arrive as it was sent; sending it again helps."""


class BadRequestError(KeltServerError):
    """An argument does not fit; the sentence names it and what would do."""


class NotFoundError(KeltServerError):
    """No such run."""


class ServerUsageError(StartError):
    """A flag or a setting that cannot be. Exit code 2."""


class KeyRefusedError(KeltServerError):
    """A key is wanted, and `given` is what came: none, or another."""

    def __init__(self, given: str) -> None:
        super().__init__(f"it wants a key and was given {given}")
        self.given = given


class ForbiddenError(KeltServerError):
    """The key is known, and does not open what was asked for."""


class NotRunningError(KeltServerError):
    """Nothing of the run runs, so there is nothing to stop."""


class RunDeletedError(KeltServerError):
    """Somebody deleted the run; what comes of it is not taken any more."""


class UnreadableAccountsError(StoreError):
    """The file of the users cannot be used: nobody is let in, and nothing written over it."""
