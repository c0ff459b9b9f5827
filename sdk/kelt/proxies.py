"""The HTTP proxy on the way to an upstream, the same for its HTTP and its gRPC.

The setting `proxy` names one, or is `none`; otherwise `HTTPS_PROXY` or `HTTP_PROXY` (by the
upstream's scheme, small letters first) and `ALL_PROXY` do. `NO_PROXY` holds for all of them. To
this very machine (loopback) the way is always direct.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

NO_PROXY = "none"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    if host.lower().rstrip(".") == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def proxy_for(url: str, *, proxy: str, environ: Mapping[str, str]) -> str:
    """The proxy for an upstream as `http://…`, or an empty text for the direct way.

    Args:
        url: the upstream's address.
        proxy: the setting; empty: what the environment says.
        environ: the environment.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if proxy == NO_PROXY or is_loopback(host):
        return ""
    chosen = proxy or _of_environment(parts.scheme, environ)
    if not chosen or _is_excepted(host, parts.port, _variable("NO_PROXY", environ)):
        return ""
    return chosen if "://" in chosen else f"http://{chosen}"


def _of_environment(scheme: str, environ: Mapping[str, str]) -> str:
    return _variable(f"{scheme.upper()}_PROXY", environ) or _variable("ALL_PROXY", environ)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return (environ.get(name.lower()) or environ.get(name) or "").strip()


def _is_excepted(host: str, port: int | None, listed: str) -> bool:
    return any(_matches(item.strip().lower(), host.lower(), port) for item in listed.split(","))


def _matches(item: str, host: str, port: int | None) -> bool:
    if not item:
        return False
    if item == "*":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(item, strict=False)
    name, _, item_port = item.partition(":")
    if item_port and item_port != str(port):
        return False
    name = name.removeprefix("*").strip(".")
    return host == name or host.endswith(f".{name}")
