"""What can go wrong, as the caller sees it: each message is one sentence with its remedy."""

from __future__ import annotations


class KeltError(Exception):
    """The base of all errors that kelt raises on purpose."""


class UsageError(KeltError, ValueError):
    """The caller's mistake: an argument, a key, a step or an order of calls that cannot be."""


class SettingsError(UsageError):
    """A setting that cannot be understood, wherever it came from."""


class BranchPointError(UsageError):
    """A point to fork, rewind or resume from that is malformed or cannot exist."""


class RunIdInUseError(UsageError):
    """`resume="never"`, and the run exists."""


class StorageError(KeltError, OSError):
    """A run's folder or spool cannot be made on this host."""


class SpoolFullError(KeltError):
    """`spool_policy="raise"`: there is no room for a row, which was not logged."""


class DaemonError(KeltError):
    """The daemon of this user and state folder cannot do what was asked."""


class DaemonUnavailableError(DaemonError):
    """Nobody answers on the daemon's socket, or not in time. Asking again later may help."""


class DaemonStartError(DaemonError):
    """A daemon was started and did not become ready."""


class WriterEndedError(DaemonUnavailableError):
    """The daemon does not take this writer's records now; the connection is well."""


class DaemonRefusedError(DaemonError):
    """The daemon answered and refuses: asking again changes nothing until somebody acts."""


class UpstreamError(KeltError):
    """The upstream cannot be read, or refuses."""


class RunNotFoundError(KeltError, LookupError):
    """No such run, branch or project."""
