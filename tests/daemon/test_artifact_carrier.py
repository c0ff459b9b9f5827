"""Artifacts on their way from a run folder to an upstream that breaks off or refuses."""

from __future__ import annotations

import hashlib
import json
import shutil

import anyio
import grpc
import pytest

from harness.in_process import daemon_parts, make_folder, offer_all
from harness.memory_upstream import LOSS, MemoryUpstream
from kelt.artifacts.logged import (
    End,
    LoggedArtifact,
    artifact_folders,
    manifest_md5,
    read_end,
    write_artifact,
)
from kelt.artifacts.manifest import Entry, digest_of_md5
from kelt_daemon.minding import Minder
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import ArtifactLogged, Loss
from kelt_proto.v1.upstream_pb2 import LogArtifactReply, PutArtifactFileReply

pytestmark = pytest.mark.asyncio


class Shelving(MemoryUpstream):
    """Keeps contents and versions in memory; `errors` are what the next calls meet."""

    def __init__(self):
        super().__init__()
        self.contents = {}
        self.versions = []
        self.errors = []
        self.put = []

    async def _meet_error(self, context):
        if self.errors:
            await context.abort(self.errors.pop(0), "as the test says")

    async def LogArtifact(self, request, context):  # noqa: N802 # the name in upstream.proto
        await self._meet_error(context)
        if request.manifest_md5 not in self.contents:
            return LogArtifactReply(missing=["../artifact.json", request.manifest_md5])
        contents = json.loads(self.contents[request.manifest_md5])["contents"].values()
        md5s = [Entry(path="", digest=c["digest"], size_bytes=0).md5 for c in contents]
        if missing := [md5 for md5 in md5s if md5 not in self.contents]:
            return LogArtifactReply(missing=missing)
        if request.id not in self.versions:
            self.versions.append(request.id)
        return LogArtifactReply(version=f"v{self.versions.index(request.id)}")

    async def PutArtifactFile(self, request_iterator, context):  # noqa: N802 # as above
        pieces = [piece async for piece in request_iterator]
        await self._meet_error(context)
        md5, content = pieces[0].md5, b"".join(piece.content for piece in pieces)
        if hashlib.md5(content).hexdigest() != md5:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "another MD5")
        self.put.append(md5)
        self.contents[md5] = content
        return PutArtifactFileReply()


def log_artifact(tmp_path, folder, files, *, number=1):
    """What a trainer leaves in its run folder."""
    entries, contents = {}, {}
    for name, content in files.items():
        md5 = hashlib.md5(content).hexdigest()
        contents[md5] = tmp_path / f"{number}-{name}"
        contents[md5].write_bytes(content)
        entries[name] = Entry(path=name, digest=digest_of_md5(md5), size_bytes=len(content))
    said = LoggedArtifact(
        id=f"{number:032x}", name="data", type="t", description="", metadata_json="{}",
        aliases=(), tags=(), step=-1, manifest_md5=manifest_md5(entries),
    )  # fmt: skip
    return write_artifact(folder, said, entries=entries, contents=contents)


def ended_run(tmp_path, url):
    path = tmp_path / "runs" / "r"
    make_folder(path, url, 3, pid=0, pid_start_ticks=1).close()
    return path


async def carried(parts, path):
    folder = await parts.adopt(path)
    await parts.until(lambda: not folder.artifacts_waiting and folder.is_committed, "all is there")
    return folder


async def test_what_breaks_off_is_tried_again_and_nothing_is_sent_twice(tmp_path):
    async with Shelving() as upstream, daemon_parts(tmp_path / "runs") as parts:
        path = ended_run(tmp_path, upstream.url)
        first = log_artifact(tmp_path, path, {"a": b"a" * 3_000_000, "b": b"b"})
        second = log_artifact(tmp_path, path, {"a": b"a" * 3_000_000, "c": b"c"}, number=2)
        code = grpc.StatusCode
        upstream.errors = [code.UNAVAILABLE, code.RESOURCE_EXHAUSTED, code.DEADLINE_EXCEEDED]
        folder = await carried(parts, path)
        assert [read_end(path, place) for place in (first, second)] == [
            End(version="v0"), End(version="v1"),
        ]  # fmt: skip
        assert len(upstream.put) == len(set(upstream.put)) == 5  # with two manifests
        assert not (first / "files").exists()
        assert folder.artifacts_problem == ""
        assert folder.committed_records == folder.durable_records


async def test_a_record_has_a_living_runs_folder_looked_at(tmp_path):
    async with Shelving() as upstream, daemon_parts(tmp_path / "runs") as parts:
        path = tmp_path / "runs" / "r"
        spool = make_folder(path, upstream.url, 1, ended=False)
        folder = await parts.adopt(path)
        await parts.until(lambda: folder.is_live, "it is minded")
        place = log_artifact(tmp_path, path, {"a": b"a"})
        spool.append_control(Kind.ARTIFACT, ArtifactLogged(name="data").SerializeToString())
        offer_all(folder, spool)
        parts.committer.submit(folder)
        await parts.until(lambda: read_end(path, place), "it is there")


async def test_what_is_refused_or_gone_is_a_loss_of_the_run_and_the_next_goes_on(tmp_path):
    async with Shelving() as upstream, daemon_parts(tmp_path / "runs") as parts:
        path = ended_run(tmp_path, upstream.url)
        refused = log_artifact(tmp_path, path, {"a": b"a"})
        gone = log_artifact(tmp_path, path, {"b": b"b"}, number=2)
        (gone / "files" / hashlib.md5(b"b").hexdigest()).unlink()
        changed = log_artifact(tmp_path, path, {"c": b"c"}, number=3)
        (changed / "files" / hashlib.md5(b"c").hexdigest()).write_bytes(b"d")
        damaged = log_artifact(tmp_path, path, {"d": b"d"}, number=4)
        (damaged / "artifact.json").write_text("{}")
        linked = log_artifact(tmp_path, path, {"f": b"f"}, number=5)
        content = linked / "files" / hashlib.md5(b"f").hexdigest()
        content.rename(tmp_path / "secret")
        content.symlink_to(tmp_path / "secret")
        right = log_artifact(tmp_path, path, {"e": b"e"}, number=6)
        upstream.errors = [grpc.StatusCode.INVALID_ARGUMENT]
        folder = await carried(parts, path)
        places = (refused, gone, changed, damaged, linked, right)
        ends = [read_end(path, place) for place in places]
        assert [end.version for end in ends] == ["", "", "", "", "", "v0"]
        reasons = ("as the test says", "No such file", "another MD5", "damaged", "symbolic links")
        for end, reason in zip(ends, reasons, strict=False):
            assert reason in end.problem
        lost = upstream.records[folder.witness_id]
        told = [Loss.FromString(r.payload).reason for r in lost.values() if r.kind == LOSS]
        assert len(told) == 5
        assert all("was not delivered: " in reason for reason in told)


async def test_an_offline_run_keeps_its_artifacts_until_somebody_asks_for_it(tmp_path):
    async with Shelving() as upstream, daemon_parts(tmp_path / "runs") as parts:
        path = tmp_path / "runs" / "r"
        make_folder(path, upstream.url, 3, pid=0, pid_start_ticks=1, mode="offline").close()
        place = log_artifact(tmp_path, path, {"a": b"a"})
        folder = await parts.adopt(path)
        await parts.until(lambda: folder.is_over, "read")
        assert not upstream.versions
        parts.registry.release(folder)
        await parts.until(lambda: read_end(path, place), "sent")


async def test_a_folder_that_is_released_as_it_ends_has_its_artifacts_sent(tmp_path, monkeypatch):
    """Its records are on their way by then, so that it is not minded again."""
    ship = Minder._ship

    async def ship_late(minder, folder):
        while folder.is_held:
            await folder.changed.wait()
        await ship(minder, folder)

    monkeypatch.setattr(Minder, "_ship", ship_late)
    async with Shelving() as upstream, daemon_parts(tmp_path / "runs") as parts:
        path = tmp_path / "runs" / "r"
        make_folder(path, upstream.url, 3, pid=0, pid_start_ticks=1, mode="offline").close()
        place = log_artifact(tmp_path, path, {"a": b"a"})
        folder = await parts.adopt(path)
        await parts.until(lambda: folder.is_over, "read")
        await anyio.sleep(0.1)  # whoever would end here has ended
        parts.registry.release(folder)
        await parts.until(lambda: read_end(path, place), "sent")


async def test_a_copys_artifact_waits_for_its_files_and_the_copy_is_not_written(tmp_path):
    async with Shelving() as upstream, daemon_parts(tmp_path / "runs") as parts:
        path = tmp_path / "runs" / "r"
        make_folder(path, upstream.url, 3, pid=0, machine_id="another").close()
        place = log_artifact(tmp_path, path, {"a": b"a"})
        files = tmp_path / "files"
        shutil.move(place / "files", files)
        folder = await parts.adopt(path)
        await parts.until(lambda: folder.artifacts_problem, "its files are missed")
        shutil.move(files, place / "files")
        await parts.until(lambda: read_end(folder.home, place), "sent")
        assert (place / "files").exists()
        assert not (place / "end.json").exists()
        assert artifact_folders(path) == [place]
