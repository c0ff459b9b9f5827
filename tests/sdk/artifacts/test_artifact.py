"""What is added to an artifact, and what becomes of it on this host's disk."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import kelt
from kelt.artifacts import Artifact
from kelt.artifacts.logged import artifact_folders, content_path, read_said
from kelt.artifacts.staging import sweep
from kelt.errors import StorageError, UsageError
from kelt.local_history import read_records
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import ArtifactLogged


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("KELT_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KELT_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def contents(artifact: Artifact) -> dict[str, bytes]:
    staged = artifact.contents()
    return {
        path: staged[entry.md5].read_bytes()
        for path, entry in artifact.entries.items()
        if entry.md5
    }


@pytest.mark.parametrize("policy", ["mutable", "immutable"])
def test_what_counts_is_the_content_as_it_was_added(state, tmp_path, policy):
    file = tmp_path / "a.txt"
    file.write_text("before")
    artifact = Artifact("data", "dataset")
    artifact.add_file(str(file), policy=policy)
    if policy == "mutable":
        file.write_text("after")
    file.unlink()
    assert contents(artifact) == {"a.txt": b"before"}


def test_folders_are_added_whole_through_links_and_rings(state, tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a").write_text("a")
    (tmp_path / "d" / "sub" / "b").write_text("b")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "c").write_text("c")
    (tmp_path / "d" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "d" / "sub" / "ring").symlink_to(tmp_path / "d")
    (tmp_path / "d" / "gone").symlink_to(tmp_path / "nowhere")
    artifact = Artifact("data", "dataset")
    artifact.add_dir(tmp_path / "d", name="/in/")
    assert contents(artifact) == {"in/a": b"a", "in/sub/b": b"b", "in/linked/c": b"c"}
    artifact.remove("in/sub")
    assert sorted(artifact.entries) == ["in/a", "in/linked/c"]


def test_new_files_are_added_as_their_block_ends_and_not_by_an_error(state):
    artifact = Artifact("data", "dataset")
    with artifact.new_file("text.txt", encoding="utf-8") as file:
        file.write("ä")
    with artifact.new_file("bytes", mode="wb") as file:
        file.write(b"\0")
    with pytest.raises(ZeroDivisionError), artifact.new_file("broken"):
        1 / 0  # noqa: B018 # an error of the script
    assert contents(artifact) == {"text.txt": "ä".encode(), "bytes": b"\0"}
    with (
        pytest.raises(UsageError, match=r"another 'text\.txt'"),
        artifact.new_file("text.txt") as file,
    ):
        file.write("other")


def test_references_keep_their_address_and_files_are_read_for_their_digest(state, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a b").write_text("a")
    artifact = Artifact("data", "dataset")
    [far] = artifact.add_reference("s3://bucket/deep/key.bin")
    [file] = artifact.add_reference(f"file://{tmp_path}/d/a%20b", name="one")
    [inner] = artifact.add_reference(f"file://{tmp_path}/d/", name="all")
    [unread] = artifact.add_reference(f"file://{tmp_path}/d", name="unread", checksum=False)
    assert (far.path, far.ref, far.digest, far.size_bytes) == (
        "key.bin", "s3://bucket/deep/key.bin", "s3://bucket/deep/key.bin", None,
    )  # fmt: skip
    assert (inner.path, inner.ref, inner.size_bytes) == ("all/a b", f"file://{tmp_path}/d/a b", 1)
    assert file.digest == inner.digest != unread.digest
    for wrong in ("no/address", f"file://{tmp_path}/nowhere"):
        with pytest.raises(UsageError):
            artifact.add_reference(wrong)


def test_mistakes_are_told_at_once(state, tmp_path):
    (tmp_path / "a").write_text("a")
    for wrong in ("", "a/b", "a b", "x" * 129, None):
        with pytest.raises(UsageError, match="cannot be a name"):
            Artifact(wrong, "t")
    with pytest.raises(UsageError, match="cannot be a type"):
        Artifact("a", "")
    with pytest.raises(UsageError, match="incremental"):
        Artifact("a", "t", incremental=True)
    artifact = Artifact("a", "t", metadata={"o": object()})
    for name in ("", "/", "..", "a/../../b", "a\0", "\udc80"):
        if name:
            with pytest.raises(UsageError, match="cannot be the path"):
                artifact.add_file(tmp_path / "a", name=name)
    with pytest.raises(UsageError, match="no file"):
        artifact.add_file(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no folder"):
        artifact.add_dir(tmp_path / "a")
    with pytest.raises(UsageError, match="policy"):
        artifact.add_file(tmp_path / "a", policy="eternal")
    for attribute in ("version", "aliases"):
        with pytest.raises(UsageError, match=r"artifact\.wait\(\)"):
            getattr(artifact, attribute)
    with pytest.raises(UsageError, match="was not logged"):
        artifact.wait()
    with kelt.init("p") as run, pytest.raises(UsageError, match=r"metadata\.o"):
        run.log_artifact(artifact)


def test_a_logged_artifact_lies_whole_in_the_run_folder_before_its_record(state, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"weights")
    artifact = Artifact("model", "model", metadata={"loss": float("nan")})
    artifact.add_file(tmp_path / "model.bin")
    with kelt.init("p", id="r") as run:
        run.log({"x": 1}, step=7)
        assert run.log_artifact(artifact, aliases=["best", "best"]) is artifact
        (tmp_path / "model (1).bin").write_bytes(b"weights")
        run.log_model("model (1).bin")
        with pytest.raises(UsageError, match="not changed any more"):
            artifact.add_file("model.bin", name="other")
        for wrong in ("a/b", "v3", "", "\ud800", 3):
            with pytest.raises(UsageError, match="cannot be an alias"):
                run.log_artifact(artifact, aliases=[wrong])
        folder = run.dir
    places = artifact_folders(folder)
    first, second = map(read_said, places)
    assert (first.name, first.aliases, first.step) == ("model", ("best",), 7)
    assert first.metadata_json == '{"loss": NaN}'
    assert (second.name, second.type) == ("run-r-model__1_.bin", "model")
    [entry] = artifact.entries.values()
    assert content_path(places[0], entry.md5).read_bytes() == b"weights"
    told = [
        ArtifactLogged.FromString(record.payload)
        for record in read_records(folder)
        if record.kind == Kind.ARTIFACT
    ]
    assert [(said.name, said.step) for said in told] == [("model", 7), ("run-r-model__1_.bin", 7)]
    assert told[0].digest == artifact.digest


def test_a_disabled_run_keeps_nothing(state, tmp_path):
    (tmp_path / "a").write_text("a")
    with kelt.init("p", mode="disabled") as run:
        assert run.log_artifact("a").wait() is not None
    assert not list(state.glob("runs/*"))


def test_no_room_is_an_error_of_the_call_and_leaves_nothing_half(state, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("a")
    with kelt.init("p") as run:
        artifact = Artifact("a", "t")
        artifact.add_file("a")

        with monkeypatch.context() as patch:
            patch.setattr("kelt.artifacts.staging._DISK_FREE_BYTES_MIN", 2**62)
            with pytest.raises(StorageError, match="less than 1 GiB"):
                artifact.add_file("a", name="b")
        assert list(artifact.entries) == ["a"]

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("kelt.artifacts.logged.link_or_copy", full)
        with pytest.raises(StorageError, match="No space left"):
            run.log_artifact(artifact)
        monkeypatch.undo()
        assert not list((run.dir / "artifacts").iterdir())


def test_what_a_killed_process_had_staged_is_swept_and_a_living_ones_is_not(state, tmp_path):
    (tmp_path / "a").write_text("a")
    script = """if True:
        import os, signal, kelt
        artifact = kelt.Artifact("a", "t")
        artifact.add_file("a")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    staging = state / "staging"
    assert len(list(staging.iterdir())) == 1
    artifact = Artifact("b", "t")
    artifact.add_file("a")
    [own] = staging.iterdir()
    assert f"_{os.getpid()}-" in own.name
    sweep(staging)
    assert contents(artifact) == {"a": b"a"}
    del artifact
    assert not list(staging.iterdir())


def test_a_forked_child_leaves_its_parents_contents_alone(state, tmp_path):
    (tmp_path / "a").write_text("a")
    artifact = Artifact("b", "t")
    artifact.add_file("a")
    if not (pid := os.fork()):
        del artifact
        os._exit(0)
    os.waitpid(pid, 0)
    assert contents(artifact) == {"a": b"a"}
