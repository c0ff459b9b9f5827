"""wandb's errors: kelt's own, under the names by which scripts catch them."""

from __future__ import annotations

from kelt.errors import KeltError, UpstreamError, UsageError
from kelt.wandb_api.missing import NotInKeltError

__all__ = ["AuthenticationError", "CommError", "ConfigError", "Error", "UnsupportedError"]
__all__ += ["UsageError", "WandbCoreNotAvailableError"]

Error = KeltError
CommError = UpstreamError
UnsupportedError = NotInKeltError


class AuthenticationError(UpstreamError):
    """Never raised: a server that refuses a key is told of by the run, which goes on."""


class ConfigError(KeltError):
    """Never raised: config values may always change."""


class WandbCoreNotAvailableError(KeltError):
    """Never raised: kelt has no such process."""
