"""gRPC's statuses → the daemon's errors, by what is to be done about them."""

from __future__ import annotations

import base64
import contextlib
import struct
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from kelt.version import __version__
from kelt_daemon.errors import (
    OverloadedError,
    RefusedError,
    RejectedDataError,
    RunGoneError,
    RunRefusedError,
    TooLargeError,
    TooSlowError,
    UnreachableError,
    UpstreamError,
)
from kelt_proto.v1.protocol import OURS

_WAITS = "What is logged waits on this host."
_Code = grpc.StatusCode

#: What a status means for us; whatever is not named here is asked again.
_ERRORS: Mapping[grpc.StatusCode, type[UpstreamError]] = {
    _Code.UNAVAILABLE: UnreachableError,
    _Code.DEADLINE_EXCEEDED: TooSlowError,
    _Code.CANCELLED: UnreachableError,
    _Code.UNIMPLEMENTED: RefusedError,
    _Code.UNAUTHENTICATED: RefusedError,
    _Code.PERMISSION_DENIED: RunRefusedError,
    _Code.FAILED_PRECONDITION: RefusedError,
    _Code.INVALID_ARGUMENT: RejectedDataError,
    _Code.OUT_OF_RANGE: RejectedDataError,
    _Code.NOT_FOUND: RunGoneError,
}
#: How a message that is too long is told: by gRPC on either side, or by what lies between (413).
_TOO_LARGE = ("larger than max", "status: 413")


def map_error(error: grpc.aio.AioRpcError, *, url: str) -> UpstreamError:
    """Our error for gRPC's."""
    code, details = error.code(), error.details() or "no reason given"
    if any(sign in details for sign in _TOO_LARGE):
        return TooLargeError(f"{url} takes no message of this size: {details}")
    after_s = asked_delay_s(error.trailing_metadata() or ())
    kind = _ERRORS.get(code, OverloadedError)
    if kind is UnreachableError and after_s is not None:
        kind = OverloadedError  # somebody answered
    if kind is RefusedError:
        return RefusedError(_refusal(code, details, url))
    if kind is RejectedDataError:
        return RejectedDataError(details)
    if kind in {RunGoneError, RunRefusedError}:
        also = "" if kind is RunGoneError else "it is tried again now and then, and "
        return kind(
            f"{url} does not take this run: {details}; {also}`kelt sync` tries again. {_WAITS}"
        )
    if kind in {UnreachableError, TooSlowError}:
        return kind(f"{url} does not answer ({details}). {_WAITS}")
    return OverloadedError(
        f"{url} answered with an error ({code.name}: {details}); it is asked again.",
        retry_after_s=after_s,
    )


def refused_key(url: str, reason: str) -> str:
    """The sentence for a key that is not accepted."""
    return (
        f"{url} refused the key: {reason}; set KELT_API_KEY to one that it knows and run "
        f"any kelt command. {_WAITS}"
    )


def _refusal(code: grpc.StatusCode, details: str, url: str) -> str:
    if code is _Code.UNAUTHENTICATED:
        return refused_key(url, details)
    return (
        f"{url} refused this daemon: {details} (kelt {__version__}, {OURS}); upgrade "
        f"the older one, then run any kelt command. {_WAITS}"
    )


def asked_delay_s(metadata: Any) -> float | None:
    """How long the upstream asks us to wait: `retry-after` (s), pushback (ms), or RetryInfo."""
    found = {str(key).lower(): value for key, value in metadata}
    for key, unit_s in (("retry-after", 1.0), ("grpc-retry-pushback-ms", 0.001)):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            asked_s = float(found[key]) * unit_s
            if 0 <= asked_s < float("inf"):
                return asked_s
    with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, struct.error):
        return _retry_info_s(found["grpc-status-details-bin"])
    return None


def _retry_info_s(status: bytes | str) -> float | None:
    """`google.rpc.Status.details[] → RetryInfo.retry_delay`, read by hand: three nested messages.

    Its Python classes would be one more dependency for one number.
    """
    raw = base64.b64decode(status) if isinstance(status, str) else status
    for number, detail in _fields(raw):
        if number != 3 or not isinstance(detail, bytes):  # noqa: PLR2004 # Status.details
            continue
        any_fields = dict(_fields(detail))
        type_url, value = any_fields.get(1, b""), any_fields.get(2, b"")
        if not isinstance(type_url, bytes) or not type_url.endswith(b"google.rpc.RetryInfo"):
            continue
        if not isinstance(value, bytes):
            continue
        delay = dict(_fields(value)).get(1, b"")
        if isinstance(delay, bytes):
            duration = dict(_fields(delay))
            seconds, nanos = duration.get(1, 0), duration.get(2, 0)
            if isinstance(seconds, int) and isinstance(nanos, int):
                return seconds + nanos / 1e9
    return None


def _fields(raw: bytes) -> list[tuple[int, int | bytes]]:
    """The varints and the length-delimited fields of a message."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(raw, at)
            found.append((number, value))
        elif wire == 2:  # noqa: PLR2004 # length-delimited
            length, at = _varint(raw, at)
            found.append((number, raw[at : at + length]))
            at += length
        else:
            raise ValueError("a field of another kind")
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:  # noqa: PLR2004 # no varint is longer
            raise ValueError("no number")
