"""Objects in artifacts: what they leave there, what is wrong with one, and reading them back.

That it is what W&B's client leaves is compared by `conformance/scenarios/tables.py`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

import kelt
from kelt.errors import UsageError
from kelt.media.image import ImageMask
from kelt.media.reading import of_document


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    monkeypatch.setenv("KELT_DIR", str(tmp_path / "state"))
    return kelt.Artifact("objects", "t")


def document(artifact, path):
    return json.loads(artifact.contents()[artifact.entries[path].md5].read_text())


class Disk:
    """An artifact that is not logged, read back."""

    def __init__(self, artifact):
        self.artifact = artifact

    def fetched(self, path: str) -> Path:
        return self.artifact.contents()[self.artifact.entries[path].md5]

    def located(self, path):
        return str(self.fetched(path))

    def get(self, name):
        return of_document(json.loads(self.fetched(name).read_text()), self)


def test_the_same_object_is_in_an_artifact_once_and_another_does_not_take_its_place(artifact):
    table = kelt.Table(["x"], [[1]])
    entry = artifact.add(table, "t")
    assert (entry.path, entry.size) == (
        "t.table.json",
        len(json.dumps(document(artifact, entry.path))),
    )
    assert artifact.add(table, "elsewhere") is entry
    assert artifact.add(kelt.Table(["x"], [[2]]), "t") == entry
    artifact["u"] = kelt.Table(["x"], [[3]])
    assert artifact.add(kelt.Table(["x"], [[4]]), "u", overwrite=True) != entry
    assert document(artifact, "u.table.json")["data"] == [[4]]
    assert len(artifact.entries) == 2


def test_what_an_object_was_made_of_may_change_afterwards(artifact):
    points = np.zeros((2, 2, 3), dtype=np.uint8)
    mask = np.zeros((2, 2), dtype=np.uint8)
    layers = {"m": {"mask_data": mask, "class_labels": {0: "no"}}}
    picture = kelt.Image(points, masks=layers)
    points[:] = mask[:] = 255
    artifact.add(picture, "p")
    read = Disk(artifact).get("p.image-file.json")
    assert read.image.getpixel((0, 0)) == (0, 0, 0)
    assert read.classes.class_set == [{"id": 0, "name": "no"}]
    assert read.masks["m"].labels is None


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: kelt.Image("nowhere.png"), "nowhere.png cannot be read"),
        (lambda: kelt.Image("text.txt"), "cannot be a picture"),
        (lambda: kelt.Image(np.zeros((2, 2, 7))), "cannot be a picture"),
        (lambda: kelt.Image(object()), "cannot be a picture"),
        (lambda: kelt.Image(np.zeros((2, 2)), file_type="gif"), "png, jpg"),
        (lambda: kelt.Image(np.zeros((2, 2)), boxes={"b": {"box_data": []}}), "wants its classes"),
        (lambda: kelt.Image(np.zeros((2, 2)), masks={"m": {"mask_data": np.zeros(3)}}), "a mask"),
        (lambda: kelt.Audio([0.5, 0.5]), "sample_rate"),
        (lambda: kelt.Video(np.zeros((2, 3, 4, 4)), format="mp4"), "encodes no frames"),
        (lambda: kelt.Video("text.txt"), "gif, mp4"),
        (lambda: kelt.Object3D("body.glb"), "add_file"),
        (lambda: kelt.Object3D(np.zeros((2, 2))), "array of points"),
        (lambda: kelt.Molecule("text.txt"), "pdb"),
        (lambda: kelt.Molecule(io.StringIO("x"), file_type="doc"), "pdb"),
        (lambda: ImageMask({"path": "nowhere.png"}), "nowhere.png cannot be read"),
        (lambda: "a text", "use add_file"),
    ],
)
def test_what_is_wrong_with_an_object_is_said_as_it_is_added(
    artifact, made, reason, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("text")
    Path("body.glb").write_text("glb")
    with pytest.raises(UsageError, match=reason):
        artifact.add(made(), "x")


def test_a_figure_is_drawn_at_once_and_one_that_cannot_be_is_told_of_when_it_is_added(artifact):
    class Figure:
        def savefig(self, _target, **_named):
            raise RuntimeError("no fonts")

    with pytest.raises(UsageError, match="no fonts"):
        artifact.add(kelt.Image(Figure()), "x")


def test_tables_take_rows_and_columns_and_give_them_back(artifact):
    table = kelt.Table(["x", "when"], optional=[False, True])
    table.add_data(1, None)
    with pytest.raises(UsageError, match="3 cells"):
        table.add_data(1, 2, 3)
    table.add_computed_columns(lambda number, row: {"double": row["x"] * 2 + number})
    artifact.add(table, "t")
    read = Disk(artifact).get("t.table.json")
    assert (read.columns, read.data) == (["x", "when", "double"], [[1, None, 2]])
    assert read.get_column("double", convert_to="numpy").tolist() == [2]
    assert document(artifact, "t.table.json")["nrows"] == 1


def test_more_rows_than_a_table_may_have_are_cut(artifact, monkeypatch):
    monkeypatch.setattr(kelt.Table, "MAX_ARTIFACT_ROWS", 2)
    artifact.add(kelt.Table(["x"], [[1], [2], [3]]), "t")
    assert document(artifact, "t.table.json")["data"] == [[1], [2]]


def test_a_file_for_a_moment_is_named_by_its_content(artifact, tmp_path):
    (tmp_path / "x.table.json").write_text("x")
    entry = artifact.add_file(tmp_path / "x.table.json", name="media/a.table.json", is_tmp=True)
    assert entry.path == "media/9dd4e461268c8034f5c8.table.json"


def test_a_picture_of_another_has_its_classes_and_grouping_but_not_its_boxes(artifact):
    """As W&B's client has it."""
    said = {"box_data": [], "class_labels": {1: "dog"}}
    first = kelt.Image(np.zeros((2, 2)), grouping=2, boxes={"b": said})
    artifact.add(kelt.Image(first), "same")
    artifact.add(kelt.Image(first, grouping=3, classes=[{"id": 2, "name": "cat"}]), "other")
    same, other = (document(artifact, f"{name}.image-file.json") for name in ("same", "other"))
    assert (same["grouping"], other["grouping"]) == (2, 3)
    classes = [document(artifact, found["classes"]["path"])["class_set"] for found in (same, other)]
    assert classes == [[{"id": 1, "name": "dog"}], [{"id": 2, "name": "cat"}]]
    assert "boxes" not in same
