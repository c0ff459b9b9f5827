"""What daemons are asked for, and which version an artifact of theirs becomes."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest
from server.artifacts.shelves import Shelf, manifest_of, stream

from kelt_server.access.callers import Caller, anybody
from kelt_server.artifacts import queries
from kelt_server.artifacts.receiving import ArtifactReceiver, OfferedArtifact, Received
from kelt_server.errors import BadRequestError, ForbiddenError, RunDeletedError

FILES = {"a.txt": b"a", "sub/b.txt": b"b", "again.txt": b"a"}
MANIFEST = manifest_of(FILES, {"far": "s3://far"}).to_json()
ANYBODY = anybody("e")


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


OFFERED = OfferedArtifact(
    client_id="1" * 32, writer_id=b"w" * 16, entity="", project="p", run_id="r", name="data",
    type="dataset", description="why", metadata='{"k": NaN}', aliases=("best", "latest"),
    tags=("t",), history_step=3, manifest_md5=md5(MANIFEST),
)  # fmt: skip


@pytest.fixture
def receiver(shelf: Shelf) -> ArtifactReceiver:
    return ArtifactReceiver(library=shelf.library, has_ended=lambda writer: writer == b"x" * 16)


def put(
    receiver: ArtifactReceiver, content: bytes, name: str = "", caller: Caller = ANYBODY
) -> None:
    asyncio.run(receiver.put("", name or md5(content), stream(content[:1], content[1:]), caller))


def bring(receiver: ArtifactReceiver, offered: OfferedArtifact) -> str:
    """All that a daemon does; it has every content."""
    contents = {md5(content): content for content in (*FILES.values(), MANIFEST)}
    while not (reply := receiver.offer(offered, ANYBODY)).version:
        for name in reply.missing:
            put(receiver, contents[name])
    return reply.version


def test_the_manifest_is_asked_for_then_what_it_lists_and_each_content_once(receiver, shelf):
    assert receiver.offer(OFFERED, ANYBODY) == Received(missing=(md5(MANIFEST),))
    put(receiver, MANIFEST)
    assert receiver.offer(OFFERED, ANYBODY) == Received(missing=(md5(b"a"), md5(b"b")))
    put(receiver, b"a")
    assert receiver.offer(OFFERED, ANYBODY) == Received(missing=(md5(b"b"),))
    put(receiver, b"b")
    assert receiver.offer(OFFERED, ANYBODY) == Received(version="v0")
    found = shelf.version("best")
    assert found is not None
    assert (found.digest, found.description, found.metadata) == (
        manifest_of(FILES, {"far": "s3://far"}).digest(), "why", '{"k": NaN}',
    )  # fmt: skip
    assert (found.aliases, found.tags, found.history_step) == (("best", "latest"), ("t",), 3)
    with shelf.library.reading() as reading:
        assert queries.logged_by(reading, ("e", "p", "r")) == [found]
        assert [f.path for f in queries.files(reading, found.id)] == sorted([*FILES, "far"])


def test_what_is_said_again_is_the_same_version_and_moves_no_alias_back(receiver, shelf):
    assert bring(receiver, OFFERED) == "v0"
    shelf.log({"other": b"o"}, aliases=("best",))
    assert receiver.offer(OFFERED, ANYBODY) == Received(version="v0")
    assert (shelf.number("best"), shelf.number("latest")) == (1, 1)
    # Another one with the same content is that version, too, and takes the aliases.
    assert receiver.offer(replace(OFFERED, client_id="2" * 32), ANYBODY) == Received(version="v0")
    assert (shelf.number("best"), shelf.number("latest")) == (0, 0)


def test_a_server_that_died_before_the_commit_goes_on_with_what_was_begun(receiver, shelf):
    new = shelf.new(manifest_of(FILES, {"far": "s3://far"}).digest(), client_id=OFFERED.client_id)
    begun = shelf.library.begin(new).artifact
    assert bring(receiver, OFFERED) == "v0"
    assert shelf.library.artifact(begun.id).version == 0


def test_what_cannot_be_taken_is_refused_with_a_sentence(receiver, shelf):
    with pytest.raises(RunDeletedError, match="was deleted"):
        receiver.offer(replace(OFFERED, writer_id=b"x" * 16), ANYBODY)
    with pytest.raises(ForbiddenError, match="another"):
        receiver.offer(replace(OFFERED, entity="another"), Caller(entity="e", user="ann"))
    with pytest.raises(ForbiddenError, match="another"):
        asyncio.run(receiver.put("another", "0" * 32, stream(b""), Caller(entity="e", user="ann")))
    for wrong in ("../../" + "0" * 26, "A" * 32, ""):
        with pytest.raises(BadRequestError, match="no MD5"):
            receiver.offer(replace(OFFERED, manifest_md5=wrong), ANYBODY)
        with pytest.raises(BadRequestError, match="no MD5"):
            put(receiver, b"a", name=wrong or "x")
    with pytest.raises(BadRequestError, match="changed after it was added"):
        put(receiver, b"a", name=md5(b"b"))
    with pytest.raises(BadRequestError, match="at most"):
        put(receiver, b"a" * 10_001)
    put(receiver, b"no manifest")
    with pytest.raises(BadRequestError, match="not JSON"):
        receiver.offer(replace(OFFERED, manifest_md5=md5(b"no manifest")), ANYBODY)
    for changed in ({"metadata": "{"}, {"name": "a/b"}, {"type": ""}, {"aliases": ("v3",)}):
        with pytest.raises(BadRequestError):
            bring(receiver, replace(OFFERED, **changed))
    assert shelf.version("latest") is None
