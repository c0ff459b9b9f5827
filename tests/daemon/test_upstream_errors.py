"""What an upstream's answers mean."""

from __future__ import annotations

import base64
import re
import socket

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from kelt_daemon.errors import (
    OverloadedError,
    RefusedError,
    RejectedDataError,
    RunGoneError,
    RunRefusedError,
    TooLargeError,
    TooSlowError,
    UnreachableError,
)
from kelt_daemon.upstream import Access
from kelt_daemon.upstream.discovery import discover, retry_after_s
from kelt_daemon.upstream.grpc_errors import asked_delay_s, map_error

C = grpc.StatusCode


def mapped(code, details="why", trailers=()):
    error = grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details=details
    )
    return map_error(error, url="http://u")


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (C.UNAVAILABLE, "", UnreachableError),
        (C.DEADLINE_EXCEEDED, "", TooSlowError),
        (C.INTERNAL, "", OverloadedError),
        (C.UNKNOWN, "Received http2 header with status: 502", OverloadedError),
        (C.UNKNOWN, "Received http2 header with status: 413", TooLargeError),
        (C.RESOURCE_EXHAUSTED, "busy", OverloadedError),
        (C.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", TooLargeError),
        (C.DATA_LOSS, "", OverloadedError),
        (C.INVALID_ARGUMENT, "", RejectedDataError),
        (C.OUT_OF_RANGE, "", RejectedDataError),
        (C.NOT_FOUND, "", RunGoneError),
        (C.UNAUTHENTICATED, "", RefusedError),
        (C.PERMISSION_DENIED, "", RunRefusedError),
        (C.FAILED_PRECONDITION, "", RefusedError),
        (C.UNIMPLEMENTED, "", RefusedError),
    ],
)
def test_a_status_is_what_is_to_be_done_about_it(code, details, expected):
    assert type(mapped(code, details)) is expected


def test_an_unavailable_server_that_says_when_to_come_again_is_there():
    error = mapped(C.UNAVAILABLE, trailers=[("retry-after", "7")])
    assert type(error) is OverloadedError
    assert error.retry_after_s == 7


def status_with_retry_info(seconds: int, nanos: int) -> bytes:
    """google.rpc.Status, written by hand: code 8, a message, another detail, RetryInfo."""
    delay = Duration(seconds=seconds, nanos=nanos).SerializeToString()
    info = b"\x0a" + bytes([len(delay)]) + delay
    details = [
        Any(type_url="type.googleapis.com/google.rpc.Help", value=b"\x0a\x01x"),
        Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info),
    ]
    packed = b"".join(
        b"\x1a" + bytes([len(raw)]) + raw for raw in (d.SerializeToString() for d in details)
    )
    return b"\x08\x08\x12\x04busy" + packed


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([], None),
        ([("retry-after", "2.5")], 2.5),
        ([("Retry-After", "2")], 2.0),
        ([("retry-after", "soon")], None),
        ([("retry-after", "-1")], None),
        ([("retry-after", "inf")], None),
        ([("grpc-retry-pushback-ms", "1500")], 1.5),
        ([("grpc-status-details-bin", status_with_retry_info(3, 250_000_000))], 3.25),
        ([("grpc-status-details-bin", base64.b64encode(status_with_retry_info(2, 0)).decode())], 2),
        ([("grpc-status-details-bin", b"\xff\xff\xff")], None),
    ],
)
def test_how_long_to_wait_is_read_from_wherever_it_stands(metadata, expected):
    assert asked_delay_s(metadata) == expected


@given(st.binary(max_size=200))
def test_details_that_are_anything_do_no_harm(raw):
    found = asked_delay_s([("grpc-status-details-bin", raw)])
    assert found is None or isinstance(found, float)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        ("-5", 0.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 110.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("tomorrow", None),
        ("", None),
    ],
)
def test_the_http_header_is_seconds_or_a_date(value, expected):
    assert retry_after_s(value, now=10.0) == expected


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_at_an_address_is_told_with_what_the_system_said(host):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://{host}:{unheard.getsockname()[1]}"
        said = re.escape(f"{url} does not answer (Connection refused); start it")
        with pytest.raises(UnreachableError, match=said):
            await discover(url, access=Access(), proxy="", deadline_s=10)
