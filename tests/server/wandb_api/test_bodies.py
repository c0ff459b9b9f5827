from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

import pytest
from starlette.requests import Request

from kelt_server.counters import Counters
from kelt_server.errors import BusyError
from kelt_server.wandb_api.bodies import BadBodyError, BodyReader


def request(chunks: Iterable[bytes], encoding: str = "gzip") -> Request:
    async def receive() -> dict[str, object]:
        try:
            chunk = next(parts)
        except StopIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": chunk, "more_body": True}

    parts = iter(chunks)
    headers = [(b"content-encoding", encoding.encode())]
    return Request({"type": "http", "headers": headers}, receive)


def read(
    chunks: Iterable[bytes], encoding: str = "gzip", *, most: int = 10_000, held: int = 1 << 20
) -> bytes:
    async def whole() -> bytes:
        reader = BodyReader(held_bytes_max=held, counters=Counters())
        async with reader.body(request(chunks, encoding), most) as body:
            return body

    return asyncio.run(whole())


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_body_is_read_whole(size: int) -> None:
    body = os.urandom(5000)
    assert read(pieces(body, size), "") == body
    assert read(pieces(gzip.compress(body), size)) == body


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_one_over_its_bound_is_let_go(encoding: str) -> None:
    body = os.urandom(10_001)
    packed = gzip.compress(body) if encoding else body
    with pytest.raises(BadBodyError, match="more than 10000 bytes"):
        read(pieces(packed, 100), encoding)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(200 * 2**20))
    with pytest.raises(BadBodyError, match="more than 10000 bytes"):
        read([bomb], held=20_000)


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(b"x" * 99)[:-9], b"", zlib.compress(b"x")], ids=range(4)
)
def test_what_is_no_gzip_is_told(body: bytes) -> None:
    with pytest.raises(BadBodyError, match="gzip"):
        read([body])


def test_another_packing_is_told() -> None:
    with pytest.raises(BadBodyError, match="'br'"):
        read([b"x"], "br")


def test_what_all_hold_until_they_are_answered_is_bounded_and_given_back() -> None:
    counters = Counters()
    reader = BodyReader(held_bytes_max=100, counters=counters)

    def body(*pieces: bytes) -> AbstractAsyncContextManager[bytes]:
        return reader.body(request(pieces, ""), 100)

    async def read() -> None:
        async with body(b"x" * 30, b"x" * 30) as first:
            assert first == b"x" * 60
            with pytest.raises(BusyError):
                async with body(b"y" * 30, b"y" * 30):
                    pass
            async with body(b"z" * 40) as third:
                assert third == b"z" * 40
        with pytest.raises(BadBodyError):
            async with body(b"x" * 60, b"x" * 41, b"x" * 60):
                pass
        async with body(b"x" * 100) as whole:
            assert whole == b"x" * 100

    asyncio.run(read())
    assert counters.posts_refused_busy == 1
