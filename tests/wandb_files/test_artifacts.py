"""Artifacts that a `.wandb` file tells of, while W&B's copies of their files are there."""

from __future__ import annotations

import base64
import hashlib

import pytest

from harness.wandb_writer import WandbWriter
from kelt.artifacts.logged import artifact_folders, content_path, read_said
from kelt.state_dir import StateDir
from kelt.wandb_files.importing import bring_in
from kelt.wandb_files.reading import read_wandb_file
from kelt_proto.wandb.wandb_record_pb2 import Artifact

UPSTREAM = "http://127.0.0.1:1"


class Home:
    """A run folder of W&B's, and the folder of its copies."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "offline-run-20260101_000000-r1" / "run-r1.wandb"
        self.path.parent.mkdir()
        self._out = self.path.open("wb")
        self.writer = WandbWriter(self._out)
        self.writer.begin()

    def artifact(self, name, files, **changes):
        contents = []
        for path, content in files.items():
            local = self.folder / f"staged-{name}-{path.replace('/', '-')}"
            local.write_bytes(content)
            md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
            entry = {"path": path, "digest": md5, "size": len(content), "local_path": str(local)}
            contents.append(entry)
        contents.append({"path": "far", "digest": "s3://far", "ref": "s3://far"})
        said = {
            "type": "dataset", "name": name, "metadata": '{"k": 1}', "finalize": True,
            "aliases": ["latest", "best"], "client_id": f"client-{name}",
            "manifest": {"version": 1, "contents": contents},
        }  # fmt: skip
        self.writer.add(artifact=Artifact(**said | changes).SerializeToString())
        self._out.flush()

    def close(self):
        self._out.close()


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    home.close()


@pytest.fixture
def state_dir(tmp_path):
    return StateDir(tmp_path / "state")


def brought(home, state_dir):
    """The names of the artifacts in the run folder, by their numbers."""
    folder, _ = bring_in(home.path, state_dir=state_dir, upstream=UPSTREAM)
    places = artifact_folders(folder)
    return {int(place.name.split("-")[0]): read_said(place).name for place in places}, places


def test_an_artifact_comes_whole_under_wandbs_id_and_the_number_of_its_record(home, state_dir):
    home.artifact("first", {"a.txt": b"a", "sub/b.txt": b"b"})
    home.writer.row(0, {"x": 1})
    home.artifact("second", {})
    found, places = brought(home, state_dir)
    assert found == {3: "first", 5: "second"}
    said = read_said(places[0])
    assert (said.id, said.type, said.metadata_json) == ("client-first", "dataset", '{"k": 1}')
    assert said.aliases == ("best",)
    for content in (b"a", b"b"):
        assert content_path(places[0], hashlib.md5(content).hexdigest()).read_bytes() == content
    # A file that grows adds what is new, and takes nothing that is there for new.
    home.artifact("third", {"c": b"c"})
    before = places[0].stat().st_ino
    found, places = brought(home, state_dir)
    assert found == {3: "first", 5: "second", 6: "third"}
    assert places[0].stat().st_ino == before


def test_what_cannot_come_is_counted_and_the_rest_comes(home, state_dir):
    home.artifact("gone", {"a": b"a"})
    (home.folder / "staged-gone-a").unlink()
    home.artifact("changed", {"a": b"a"})
    (home.folder / "staged-changed-a").write_bytes(b"longer")
    home.artifact("unfinished", {}, finalize=False)
    home.artifact("in parts", {}, incremental_beta1=True)
    home.artifact("elsewhere", {}, manifest={"version": 1, "manifest_file_path": "/x"})
    home.artifact("newer", {}, manifest={"version": 2})
    home.artifact("nameless", {}, client_id="")
    home.artifact("no json", {}, metadata="{")
    home.artifact("no path", {"..": b"a"})
    wrong = {"path": "a", "digest": "AAAA", "local_path": "/etc/hostname"}
    home.artifact("no md5", {}, manifest={"version": 1, "contents": [wrong]})
    home.writer.add(use_artifact=b"")
    home.artifact("right", {"a": b"a"})
    assert read_wandb_file(home.path).not_carried == (
        "not carried over: 3 partial artifacts, 5 unusable artifacts, 1 used artifact, "
        "2 vanished artifacts"
    )
    found, _ = brought(home, state_dir)
    assert list(found.values()) == ["right"]
