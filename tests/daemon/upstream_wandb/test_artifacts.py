"""Artifacts on their way to a W&B server that fails, forgets and refuses."""

from __future__ import annotations

import base64
import json

import pytest
import pytest_asyncio
from daemon.upstream_wandb.desks import Desk, opened

from harness.amounts import amount
from harness.wandb_stub_artifacts import StubArtifacts
from kelt.artifacts.logged import content_path
from kelt_daemon.errors import NotYetError, RejectedDataError, UpstreamError
from kelt_daemon.upstream.wandb import artifact_carrying
from kelt_daemon.upstream.wandb.file_pieces import TRIES_MAX
from kelt_proto.v1.record_pb2 import Resumed

pytestmark = pytest.mark.asyncio
FILES = {"a": b"aa", "b/c": b"bc", "d": b"dd"}
#: What is asked for an artifact, and how it may be answered.
KINDS = (
    "createArtifact",
    "createArtifactManifest",
    "createArtifactFiles",
    "blob",
    "commitArtifact",
)
ANSWERS = (404, 503, "cut", 409, "lose")


@pytest_asyncio.fixture
async def desk(stub, tmp_path):
    async with Desk(stub, tmp_path) as desk:
        await desk.connect()
        yield desk


async def begun(desk, number=1, run_id="r", **origin):
    stream = desk.add(opened(number, run_id, **origin), run_id)
    await desk.ship(stream)
    return stream


async def log(desk, artifact, *, tries=20):
    """As the daemon does: again and again, each time as another process."""
    for _ in range(tries):
        try:
            return await desk.server.artifacts.log_artifact(artifact)
        except RejectedDataError:
            raise
        except UpstreamError as error:
            desk.errors.append(error)
            await desk.restart()
            await desk.connect()
    raise AssertionError(desk.errors)


def once(kind, answer):
    """The first request of a kind meets something."""
    left = [answer]
    return lambda request: left.pop() if request.kind == kind and left else None


async def test_a_version_has_what_was_said_and_where_each_file_was_born(desk, stub):
    stream = await begun(desk)
    artifact = desk.add_artifact(stream, "data", FILES, aliases=["best"], refs={"x": "s3://b/x"})
    assert await log(desk, artifact) == "v0"
    (found,) = stub.artifacts.versions("data")
    assert (found.given["runName"], found.given["historyStep"]) == ("r", 5)
    contents = found.manifest["contents"]
    assert {path: said.get("birthArtifactID") for path, said in contents.items()} == {
        "a": found.id, "b/c": found.id, "d": found.id, "x": None,
    }  # fmt: skip
    assert {alias for _, alias in stub.artifacts.aliases} == {"best", "latest"}
    assert not any("authorization" in request.headers for request in stub.of_kind("blob"))


@pytest.mark.parametrize("shift", range(amount(1, long=5)))
async def test_whatever_an_answer_is_an_artifact_is_one_version(desk, stub, shift):
    stream = await begun(desk)
    for number, kind in enumerate(KINDS):
        stub.fault = once(kind, ANSWERS[(number + shift) % len(ANSWERS)])
        files = {**FILES, "number": str(number).encode()}
        assert await log(desk, desk.add_artifact(stream, "data", files)) == f"v{number}"
    assert len(desk.errors) == len(KINDS)
    assert len(stub.artifacts.versions("data")) == len(KINDS)


async def test_what_was_committed_though_the_word_was_lost_moves_no_alias_again(desk, stub):
    stream = await begun(desk)
    first = desk.add_artifact(stream, "data", {"a": b"1"})
    stub.fault = once("commitArtifact", "lose")
    with pytest.raises(UpstreamError):
        await desk.server.artifacts.log_artifact(first)
    other = await begun(desk, 2, "other")
    assert await log(desk, desk.add_artifact(other, "data", {"a": b"2"})) == "v1"
    assert await log(desk, first) == "v0"
    (newest,) = stub.artifacts.aliases.values()
    assert newest.version == 1


async def test_files_that_were_acknowledged_are_not_put_again(desk, stub, monkeypatch):
    monkeypatch.setattr(artifact_carrying, "_FILES_MAX", 1)
    stream = await begun(desk)
    artifact = desk.add_artifact(stream, "data", FILES)
    stub.fault = lambda r: 503 if r.content == b"dd" else None
    with pytest.raises(NotYetError):
        await desk.server.artifacts.log_artifact(artifact)
    stub.fault = None
    stub.artifacts.names_all_addresses = True
    assert await log(desk, artifact) == "v0"
    assert [r.content for r in stub.of_kind("blob")][:-1] == [b"aa", b"bc", b"dd", b"dd"]


async def test_a_server_that_has_forgotten_an_artifact_is_sent_all_of_it(desk, stub, monkeypatch):
    monkeypatch.setattr(artifact_carrying, "_FILES_MAX", 1)
    stream = await begun(desk)
    artifact = desk.add_artifact(stream, "data", FILES)
    stub.fault = once("commitArtifact", 503)
    with pytest.raises(UpstreamError):
        await desk.server.artifacts.log_artifact(artifact)
    stub.artifacts = StubArtifacts(url=stub.url)
    assert await log(desk, artifact) == "v0"
    assert sorted(stub.artifacts.blobs.values()) == sorted(FILES.values())


async def test_a_refusal_is_for_good_after_a_few_times_and_holds_up_no_other(desk, stub):
    stream = await begun(desk)
    bad = desk.add_artifact(stream, "bad", FILES)
    stub.fault = lambda r: 400 if r.kind == "blob" else None
    for _ in range(TRIES_MAX - 1):
        with pytest.raises(NotYetError, match=r"'bad' is refused .*400"):
            await desk.server.artifacts.log_artifact(bad)
    with pytest.raises(RejectedDataError, match="400"):
        await desk.server.artifacts.log_artifact(bad)
    stub.fault = None
    assert await log(desk, desk.add_artifact(stream, "good", FILES)) == "v0"


async def test_what_was_changed_on_this_host_is_not_sent(desk, stub):
    stream = await begun(desk)
    artifact = desk.add_artifact(stream, "data", {"a": b"a"})
    (md5,) = {p.name for p in (artifact.place / "files").iterdir()} - {artifact.said.manifest_md5}
    path = content_path(artifact.place, md5)
    path.unlink()
    path.write_bytes(b"b")
    with pytest.raises(RejectedDataError, match="changed on this host"):
        await desk.server.artifacts.log_artifact(artifact)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        await desk.server.artifacts.log_artifact(artifact)
    assert stub.of_kind("blob") == []


@pytest.mark.parametrize(
    "said", [{"digest": 5}, {"digest": "YQ==", "size": "1"}, {"digest": "x", "ref": 5}]
)
async def test_a_manifest_that_says_other_kinds_of_things_is_damaged(desk, stub, said):
    """A ValueError is a loss of this artifact; anything else would park the run with its rows."""
    stream = await begun(desk)
    artifact = desk.add_artifact(stream, "data", FILES)
    path = content_path(artifact.place, artifact.said.manifest_md5)
    path.write_text(json.dumps({"contents": {"a": said, "b": {"digest": "YQ=="}}}))
    with pytest.raises(ValueError, match="manifest cannot be read"):
        await desk.server.artifacts.log_artifact(artifact)


async def test_an_artifact_waits_for_its_run_to_begin_and_is_asked_for_then(desk):
    nudged = []
    stream = desk.add(opened(1, "r"), "r", nudge=lambda: nudged.append(1))
    artifact = desk.add_artifact(stream, "data", FILES)
    with pytest.raises(NotYetError):
        await desk.server.artifacts.log_artifact(artifact)
    assert not nudged
    await desk.ship(stream)
    assert nudged
    assert await log(desk, artifact) == "v0"


async def test_artifacts_of_a_later_session_wait_for_those_of_the_one_before(desk):
    first = await begun(desk, 1)
    first.exit(0, at=1.0)
    await desk.ship(first)
    stream = await begun(desk, 2, resumed=Resumed(last_step=-1, mode="must"))
    artifact = desk.add_artifact(stream, "data", FILES)
    desk.change(first, has_artifacts=True)
    with pytest.raises(NotYetError, match="session before"):
        await desk.server.artifacts.log_artifact(artifact)
    desk.change(first, is_held=True)
    assert await log(desk, artifact) == "v0"


async def test_what_an_artifact_refers_to_is_named_as_the_server_names_it(desk, stub):
    stream = await begun(desk)
    first = desk.add_artifact(stream, "table", FILES)
    await log(desk, first)
    ref = f"wandb-client-artifact://{first.said.id}/b/c"
    await log(desk, desk.add_artifact(stream, "data", {}, refs={"x": ref}))
    (table,), (found,) = stub.artifacts.versions("table"), stub.artifacts.versions("data")
    server_id = base64.b64decode(table.id).hex()
    assert found.manifest["contents"]["x"]["ref"] == f"wandb-artifact://{server_id}/b/c"
    lost = desk.add_artifact(stream, "data", {}, refs={"x": "wandb-client-artifact://no/b"})
    with pytest.raises(RejectedDataError, match="does not have what"):
        await log(desk, lost)
