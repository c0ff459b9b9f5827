"""What reading from the upstream can end in; each message is one sentence with its remedy."""

from __future__ import annotations

from kelt.errors import UpstreamError, UsageError


class UnreachableError(UpstreamError):
    """No answer came, or not in time. Asking again later may help."""


class KeyRefusedError(UpstreamError):
    """The server wants a key, or another one."""


class ForbiddenError(UpstreamError):
    """The key is accepted, and does not open what was asked for."""


class NotRunningError(UpstreamError):
    """Nothing of the run runs, so there is nothing to stop."""


class ServerFaultError(UpstreamError):
    """The server answers and cannot serve, or is no kelt server."""


class QueryError(UsageError):
    """An argument that the server, or this client, cannot take."""
