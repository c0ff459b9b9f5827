"""One question over HTTP/1.1, whatever answers it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.connect_proxy import ConnectProxy
from kelt_daemon.errors import UnreachableError
from kelt_daemon.upstream import Access
from kelt_daemon.upstream.discovery import discover
from kelt_daemon.upstream.http_get import http_get

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def answering(*parts: bytes, stays: bool = False):
    """Reads one request, answers with these bytes, and closes unless it `stays`."""
    asked: list[bytes] = []

    async def serve(stream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            asked.append(request)
            for part in parts:
                await stream.send(part)
            if stays:
                await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port}", asked
        tasks.cancel_scope.cancel()


async def ask(url: str, *, proxy: str = "", bytes_max: int = 1000):
    with anyio.fail_after(60):
        return await http_get(f"{url}/a b", trusted=None, proxy=proxy, bytes_max=bytes_max)


@pytest.mark.parametrize(
    "framed",
    [
        (b"content-length: 5\r\n\r\nhello", True),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", True),
        (b"\r\nhello", False),
    ],
    ids=["length", "chunks", "end of the connection"],
)
async def test_a_body_is_read_however_its_end_is_told(framed):
    rest, stays = framed
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418 Tea\r\nRetry-After: 7\r\n"
    async with answering(head, rest, stays=stays) as (url, asked):
        reply = await ask(url)
    assert (reply.status, reply.headers["retry-after"], reply.body) == (418, "7", b"hello")
    assert asked[0].startswith(b"GET /a%20b HTTP/1.1\r\n")
    assert f"host: {url.removeprefix('http://')}".encode() in asked[0].lower()


async def test_of_a_body_without_an_end_no_more_is_read_than_is_asked_for():
    endless = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 10_000] * 20]
    async with answering(*endless, stays=True) as (url, _):
        reply = await ask(url, bytes_max=1000)
    assert 1000 < len(reply.body) < 100_000


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsho",
     b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000],
    ids=["nothing", "another protocol", "cut short", "headers without an end"],
)  # fmt: skip
async def test_what_is_no_reply_is_a_connection_that_failed(answer):
    async with answering(answer) as (url, _):
        with pytest.raises(ConnectionError):
            await ask(url)


@given(answer=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
async def test_bytes_of_any_kind_are_an_upstream_that_is_not_there(answer):
    async with answering(answer) as (url, _):
        with pytest.raises(UnreachableError, match="logged waits on this host"):
            await discover(url, access=Access(), proxy="", deadline_s=20)


async def test_who_says_nothing_is_told_to_take_too_long():
    async with answering(stays=True) as (url, _):
        with pytest.raises(UnreachableError, match=r"does not answer \(it takes too long\)"):
            await discover(url, access=Access(), proxy="", deadline_s=0.05)


async def test_a_proxy_is_told_the_whole_address_and_who_asks():
    # The name a and the password "b%c", in base64.
    with ConnectProxy(authorization="Basic YTpiJWM=") as proxy:
        async with answering(b"HTTP/1.1 204 No\r\n\r\n") as (url, _):
            named = url.replace("127.0.0.1", "kelt.invalid")
            through = f"http://a:b%25c@{proxy.address}"
            assert (await ask(named, proxy=through)).status == 204
        assert proxy.asked == [f"GET {named}/a%20b"]
        assert (await ask(named, proxy=f"http://{proxy.address}")).status == 407


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://"])
async def test_a_proxy_of_another_kind_is_no_address(proxy):
    with pytest.raises(ValueError, match=r"proxy|host"):
        await ask("http://kelt.invalid", proxy=proxy)
