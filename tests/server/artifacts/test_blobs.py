"""Files are stored whole, with the content that their name says, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from server.artifacts.shelves import Shelf, md5_base64, stream
from starlette.requests import ClientDisconnect

from kelt_server.errors import BadRequestError, NoRoomError, TooLargeError

CONTENT = b"content"
MD5 = hashlib.md5(CONTENT).hexdigest()


def put(shelf: Shelf, content: AsyncIterator[bytes], md5: str = MD5) -> None:
    asyncio.run(shelf.blobs.put_blob("e", md5, content))


def test_a_content_lies_once(shelf: Shelf) -> None:
    put(shelf, stream(b"con", b"tent"))
    put(shelf, stream(CONTENT))
    (path,) = shelf.files()
    assert (path.name, path.read_bytes()) == (MD5, CONTENT)
    assert shelf.quota.taken_bytes == len(CONTENT)


def test_another_content_is_refused(shelf: Shelf) -> None:
    with pytest.raises(BadRequestError, match=MD5):
        put(shelf, stream(b"other"))
    assert (shelf.files(), shelf.quota.taken_bytes) == ([], 0)


def test_what_breaks_off_leaves_nothing(shelf: Shelf) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"con"
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        asyncio.run(shelf.blobs.put_blob("e", MD5, broken()))
    assert (shelf.files(), shelf.quota.taken_bytes) == ([], 0)


def test_a_file_may_not_be_too_large(shelf: Shelf) -> None:
    with pytest.raises(TooLargeError):
        put(shelf, stream(b"x" * 10_001))
    assert shelf.files() == []


def test_there_is_an_end_to_the_room(shelf: Shelf) -> None:
    small = Shelf(shelf.folder.parent, shelf.library._engine, bytes_max=10)
    put(small, stream(CONTENT))
    other = b"another"
    with pytest.raises(NoRoomError, match="--files-bytes-max"):
        put(small, stream(other), hashlib.md5(other).hexdigest())
    with pytest.raises(NoRoomError):
        small.quota.check(4)
    assert small.quota.taken_bytes == len(CONTENT)


def test_a_disk_that_is_nearly_full_takes_rows_alone(shelf: Shelf) -> None:
    shelf.quota._disk_free_bytes_min = 2**62
    with pytest.raises(NoRoomError, match="kept for rows"):
        shelf.begin({"a": b"a"})


def test_a_manifest_is_as_it_was_announced(shelf: Shelf) -> None:
    def put_manifest(digest: str) -> None:
        content = stream(CONTENT)
        asyncio.run(shelf.blobs.put_manifest("ab12", digest, content, bytes_max=100))

    with pytest.raises(BadRequestError, match="announced"):
        put_manifest(md5_base64(b"other"))
    put_manifest(md5_base64(CONTENT))
    assert shelf.blobs.read_manifest("ab12") == CONTENT
