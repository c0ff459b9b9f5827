"""Tables of rows: whole in artifacts of the run, and their beginning in the row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from kelt.artifacts.logged import artifact_folders, content_path, read_said
from kelt.wandb_api import starting
from kelt.wandb_api.media import Image, Table
from kelt.wandb_api.run_tables import split_tables
from kelt.wandb_api.wandb_run import Run


@pytest.fixture
def run(tmp_path, monkeypatch) -> Iterator[Run]:
    monkeypatch.setenv("KELT_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with starting.init(project="p", id="r", mode="offline") as opened:
        yield opened


def logged(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """The artifacts of a run: their names, and the sizes of what is in them."""
    found = []
    for folder in artifact_folders(run.kelt.dir):
        said = read_said(folder)
        contents = json.loads(content_path(folder, said.manifest_md5).read_text())["contents"]
        found.append((said.name, {path: entry["size"] for path, entry in contents.items()}))
        assert said.type == "run_table"
    return found


def test_tables_are_found_wherever_they_stand_and_frames_are_tables():
    table, other = Table(["x"], [[1]]), Table(["y"], [[2]])
    row, found = split_tables(
        {"a": table, "in": {"b": other}, "list": [table, 3], "f": pd.DataFrame({"z": [1]}), "n": 1}
    )
    assert [key for key, _ in found] == ["a", "b", "list", "f"]
    assert found[3][1].data == [[1]]
    assert row["in"]["b"]["columns"] == ["y"]
    assert (row["n"], row["list"][1]) == (1, 3)


def test_a_table_is_logged_once_unless_it_may_change(run):
    fixed, growing = Table(["x"], [[1]]), Table(["x"], log_mode="MUTABLE")
    for number in range(2):
        growing.add_data(number)
        run.log({"fixed": fixed, "growing": growing})
    names = [name for name, _ in logged(run)]
    assert names == ["run-r-fixed", "run-r-growing", "run-r-growing"]


def test_a_key_that_is_no_name_gives_one_with_a_checksum(run):
    run.log({"a b/c": Table(["x"], [[1]])})
    ((name, entries),) = logged(run)
    assert name == "run-r-abc-YioIWw"
    assert list(entries) == ["a b/c.table.json"]


def test_a_table_that_cannot_be_kept_leaves_its_row_and_the_training_alone(run, capsys):
    for _ in range(2):
        run.log({"x": 1, "t": Table(["i"], [[Image("nowhere.png")]])})
    assert logged(run) == []
    assert capsys.readouterr().err.count("nowhere.png cannot be read") == 1
    assert run.kelt.step == 2
