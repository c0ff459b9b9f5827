"""Upstreams that are W&B servers: `wandb+https://api.wandb.ai`, their keys, and their pages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

EXAMPLE = "wandb+https://api.wandb.ai"
_PREFIX = "wandb+"
_SCHEMES = ("http://", "https://")


def has_scheme(upstream: str) -> bool:
    """Whether it begins as the address of an upstream of either kind does."""
    return http_url(upstream).startswith(_SCHEMES)


def is_wandbs_own(upstream: str) -> bool:
    """Whether it is W&B's hosted server, written as if it were a kelt server."""
    host = urlsplit(upstream).hostname or ""
    return not is_wandb(upstream) and (host == "wandb.ai" or host.endswith(".wandb.ai"))


def is_wandb(upstream: str) -> bool:
    """Whether the upstream is a W&B server."""
    return upstream.startswith(_PREFIX)


def http_url(upstream: str) -> str:
    """The address by which an upstream is spoken to over HTTP."""
    return upstream.removeprefix(_PREFIX)


def web_url(upstream: str) -> str:
    """Where people look at runs; W&B's own pages are not where its API is."""
    url = http_url(upstream)
    return url.replace("://api.", "://", 1) if is_wandb(upstream) else url


def wandb_key(upstream: str, given: str | None, environ: Mapping[str, str]) -> str:
    """The key for a W&B server, or an empty text.

    `WANDB_API_KEY`, the one that was given for the upstream, or what the netrc file has for that
    host, where `wandb login` writes it.
    """
    return environ.get("WANDB_API_KEY") or given or netrc_key(http_url(upstream), environ)


def netrc_key(url: str, environ: Mapping[str, str]) -> str:
    """What `wandb login` has written for a host, or an empty text."""
    import netrc  # noqa: PLC0415 # `import kelt` does without

    host = urlsplit(url).hostname or ""
    named = environ.get("NETRC", "")
    for path in (Path(named),) if named else (Path("~/.netrc"), Path("~/_netrc")):
        with suppress(OSError, ValueError, RuntimeError, netrc.NetrcParseError):
            # Not its `default`: that would be told to whoever is asked.
            found = netrc.netrc(str(path.expanduser())).hosts.get(host)
            if found is not None and found[2]:
                return found[2]
    return ""
