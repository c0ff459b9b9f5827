"""What is made is in its place whole, or not at all."""

import pytest

from kelt.exporting.placing import ExportError, placed


def make(target, *, replaces=False, folder=False, breaks=False, meanwhile=""):
    with placed(target, replaces=replaces) as made:
        if meanwhile:
            target.write_text(meanwhile)
        if folder:
            made.mkdir()
            (made / "inside").write_text("new")
        else:
            made.write_text("new")
        if breaks:
            raise RuntimeError


def test_a_file_and_a_folder_appear_and_nothing_is_left_beside_them(tmp_path):
    make(tmp_path / "deep" / "a.csv")
    make(tmp_path / "deep" / "f", folder=True)
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["a.csv", "f"]


def test_what_fails_in_the_middle_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        make(target, replaces=True, breaks=True)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path):
    file, folder = tmp_path / "a.csv", tmp_path / "f"
    file.write_text("old")
    (folder / "older").mkdir(parents=True)
    for target in (file, folder):
        with pytest.raises(ExportError, match="is there already; --force"):
            make(target)
    make(file, replaces=True)
    make(folder, replaces=True, folder=True)
    assert file.read_text() == "new"
    assert [p.name for p in folder.iterdir()] == ["inside"]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_came_there_meanwhile_stays_too(tmp_path):
    target = tmp_path / "a.csv"
    with pytest.raises(ExportError):
        make(target, meanwhile="faster")
    assert target.read_text() == "faster"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        make(tmp_path / "file" / "a.csv")
