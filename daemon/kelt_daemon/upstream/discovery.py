"""Where an upstream's gRPC is: asked of its HTTP address.

No key goes along, because whoever answers may be a captive portal or another host, and no
redirection is followed for the same reason. What the network raises becomes our errors here.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from kelt.errors import SettingsError
from kelt.tls import ssl_context
from kelt.version import __version__
from kelt_daemon.errors import RefusedError, UnreachableError
from kelt_daemon.upstream import Access
from kelt_daemon.upstream.http_get import Reply, http_get
from kelt_proto.v1.protocol import OURS, ProtocolRange, said

_REPLY_BYTES_MAX = 64 * 1024
_PORT_MAX = 65535
_WAITS = "What is logged waits on this host."


@dataclass(frozen=True, slots=True)
class Discovered:
    """What an upstream says of itself."""

    grpc_port: int
    default_entity: str


async def discover(url: str, *, access: Access, proxy: str, deadline_s: float) -> Discovered:
    """Asks `/api/v1/info`.

    Raises:
        UnreachableError: nobody answers as a kelt server does, now.
        RefusedError: it speaks another protocol.
    """
    try:
        trusted: ssl.SSLContext | None = None
        if urlsplit(url).scheme == "https":
            trusted = await anyio.to_thread.run_sync(ssl_context, access.ca_file)
        with anyio.fail_after(deadline_s):
            reply = await http_get(
                f"{url}/api/v1/info", trusted=trusted, proxy=proxy, bytes_max=_REPLY_BYTES_MAX
            )
    except SettingsError as error:
        raise UnreachableError(f"{url} cannot be trusted yet: {error} {_WAITS}") from error
    except (OSError, ValueError) as error:
        raise UnreachableError(f"{_sentence_of(error, url, proxy)} {_WAITS}") from error
    return _read(url, reply)


def _read(url: str, reply: Reply) -> Discovered:
    status = reply.status
    if status in {401, 403, 407}:
        raise RefusedError(
            f"{url} lets nobody in (HTTP status {status}); something before the kelt server asks "
            f"for a password: let /api/v1/info through there. {_WAITS}"
        )
    if 300 <= status < 400:  # noqa: PLR2004 # redirections
        target = urlsplit(reply.headers.get("location", ""))
        shown = f"{target.scheme}://{target.netloc}" if target.netloc else "another address"
        raise UnreachableError(
            f"{url} points to {shown}, which is not followed because a key would go along; set "
            f"KELT_UPSTREAM to the right address. {_WAITS}"
        )
    if status in {408, 429} or status >= 500:  # noqa: PLR2004 # not now
        raise UnreachableError(
            f"{url} answers, but not now (HTTP status {status}); it is asked again. {_WAITS}",
            retry_after_s=retry_after_s(reply.headers.get("retry-after", "")),
        )
    try:
        info = json.loads(reply.body)
        theirs = said(int(info["protocol"]), int(info.get("protocol_min", 0)))
        port = int(info["grpc_port"])
        if status != 200 or not 0 < port <= _PORT_MAX:  # noqa: PLR2004
            raise ValueError(f"HTTP status {status}, gRPC port {port}")  # noqa: TRY301
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        kind = reply.headers.get("content-type", "").partition(";")[0] or "nothing readable"
        raise UnreachableError(
            f"What answers at {url} is not a kelt server (HTTP status {status}, {kind}); check "
            f"KELT_UPSTREAM, or log in to the network. {_WAITS}"
        ) from error
    if not OURS.common(theirs):
        raise RefusedError(_other_protocol(url, theirs, info))
    return Discovered(port, str(info.get("default_entity", "")))


def _other_protocol(url: str, theirs: ProtocolRange, info: Mapping[str, Any]) -> str:
    older = "the server" if theirs.is_older_than(OURS) else "the kelt on this host"
    return (
        f"{url} speaks {theirs} (kelt {info.get('version', '?')}) and this daemon {OURS} "
        f"(kelt {__version__}); upgrade {older}, then run any kelt command. {_WAITS}"
    )


def retry_after_s(value: str, *, now: float | None = None) -> float | None:
    """What a Retry-After header asks for: seconds, or a date (`now`: Unix seconds, its clock)."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError):
        return None
    return None if now is None else max(0.0, at - now)


def _sentence_of(error: Exception, url: str, proxy: str) -> str:
    """Thing, reason, remedy."""
    cause: BaseException | None = error
    host = urlsplit(url).hostname
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrust(cause, url, host or "")
        if isinstance(cause, ssl.SSLError):
            return f"{url} does not speak TLS as it should ({cause.reason}); check KELT_UPSTREAM."
        cause = cause.__cause__ or cause.__context__
    reason = str(error) or type(error).__name__
    if _is_unresolved(reason):
        name = urlsplit(proxy).hostname if proxy else host
        return f"The name {name} is not known ({reason}); check KELT_UPSTREAM and the network."
    through = f" through the proxy {_without_password(proxy)}" if proxy else ""
    return (
        f"{url} does not answer{through} ({_reason_of(error)}); start it with `kelt server`, or "
        "check KELT_UPSTREAM."
    )


def _distrust(error: ssl.SSLCertVerificationError, url: str, host: str) -> str:
    reason = error.verify_message
    if "expired" in reason:
        return f"The certificate of {url} has expired; renew it on the server."
    if "mismatch" in reason or "not valid for" in reason:
        return (
            f"The certificate of {url} is not for {host} ({reason}); use the name that it is for "
            "in KELT_UPSTREAM."
        )
    return (
        f"The certificate of {url} is not trusted ({reason}); name the file of its authority in "
        "KELT_CA_FILE."
    )


def _reason_of(error: BaseException) -> str:
    """The innermost that the system said, such as that the connection was refused."""
    kind = "it takes too long" if isinstance(error, TimeoutError) else type(error).__name__
    found = str(error) or kind
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            found = os.strerror(cause.errno)
        inner = cause.__cause__ or cause.__context__
        # One for each address that the name has.
        several = getattr(inner, "exceptions", ())
        cause = several[0] if several else inner
    return found.rstrip(".")


def _is_unresolved(reason: str) -> bool:
    return "Name or service not known" in reason or "name resolution" in reason


def _without_password(proxy: str) -> str:
    parts = urlsplit(proxy)
    return parts.netloc.rpartition("@")[2]
