"""Files as Neptune's exporter lays them out (made_by/README.md)."""

import importlib.util
import shutil
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.foreign_reading import history, sources, taken_over
from harness.wandb_reading import of_kind
from kelt.other_trackers.finding import find_sources
from kelt.other_trackers.foreign_run import ForeignRunError, Target
from kelt_proto.v1.frames import Kind

MADE_BY = Path(__file__).parent / "made_by"
FOLDER = MADE_BY / "neptune"


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """The script that made the files, writing elsewhere."""
    spec = importlib.util.spec_from_file_location("make_neptune", MADE_BY / "make_neptune.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_a_run_is_gathered_from_its_parts():
    (source,) = sources(FOLDER)["baseline"]
    run = source.run(0)
    assert (run.project, run.run_id, run.started_at) == ("digits", "base", 1_735_787_045)
    found, records = taken_over(source)
    rows = history(records)
    assert [rows[step]["metrics/loss"] for step in range(10)] == [
        1 / (step + 3) for step in range(10)
    ]
    assert [rows[step]["metrics/acc"] for step in range(10)] == list(range(10))
    assert (rows[2]["said"], rows[5]["said"]) == ("at 2", "at 5")
    assert of_kind(records, Kind.ROW)[3].header.timestamp == 1_735_787_045 + 13
    assert rows[1]["weights"] == {"_type": "histogram", "values": [2], "bins": [0, 1]}
    assert found.tally.note == "not carried over: 1 file"


def test_attributes_are_config_and_the_runs_own_facts():
    facts = taken_over(sources(FOLDER)["baseline"][0])[0].tally.facts
    params = {key: value for key, value in facts.config.items() if key.startswith("params/")}
    assert params == {
        "params/lr": 0.1, "params/layers": 3, "params/net": "cnn", "params/flag": True,
        "params/set": ["x"],
    }  # fmt: skip
    assert (facts.info.name, facts.info.notes, facts.info.tags) == (
        "baseline",
        "a note",
        ("a", "b"),
    )
    assert (facts.exit_code, facts.ended_at) == (0, 1_735_787_045 + 3600)
    assert taken_over(sources(FOLDER)["bad"][0])[0].tally.facts.exit_code == 1


def test_a_forked_run_is_a_fork():
    forked = sources(FOLDER)["forked"][0].run(0).forked
    assert (forked.project, forked.run_id, forked.step) == ("digits", "base", 4)


def test_steps_that_are_fractions_are_made_whole_for_all_of_a_project(maker, tmp_path):
    points = maker.series("x", ["0.5", "1.25", "2"], float)
    maker.part("halves", 0, maker.facts("halves"), points)
    maker.part("whole", 0, maker.facts("whole"), maker.series("x", [3], float))
    found, records = taken_over(sources(tmp_path)["halves"][0])
    assert sorted(history(records)) == [50, 125, 200]
    assert "steps are taken times 100" in found.tally.note
    assert list(history(taken_over(sources(tmp_path)["whole"][0])[1])) == [300]
    assert Decimal(points[0][2]) == Decimal("0.5")


def test_many_runs_in_one_file_are_told_apart(tmp_path):
    tables = [pq.read_table(path) for path in sorted(FOLDER.rglob("*.parquet"))]
    pq.write_table(pa.concat_tables(tables), tmp_path / "part_0.parquet")
    apart, together = sources(FOLDER), sources(tmp_path)
    assert set(apart) == set(together)
    for name in apart:
        assert history(taken_over(apart[name][0])[1]) == history(taken_over(together[name][0])[1])


def test_a_part_that_is_named_brings_the_others_of_its_run():
    (part,) = FOLDER.rglob("base_part_1.parquet")
    ((source,),) = sources(part).values()
    assert history(taken_over(source)[1]) == history(taken_over(sources(FOLDER)["baseline"][0])[1])


def test_a_damaged_part_costs_itself_and_is_told(copied):
    (part,) = copied.rglob("base_part_1.parquet")
    part.write_bytes(part.read_bytes()[:200])
    found, records = taken_over(sources(copied)["baseline"][0])
    assert history(records)[3].keys() == {"metrics/loss"}
    assert found.tally.lost_rows == 1
    assert "base_part_1.parquet cannot be read" in found.tally.damage


def test_a_run_without_a_whole_part_is_named_and_the_others_are_found(copied):
    (part,) = copied.rglob("bad_part_0.parquet")
    part.write_bytes(b"PAR1 nothing")
    found = find_sources(copied, Target())
    (error,) = [item for item in found if isinstance(item, ForeignRunError)]
    assert "bad_part_0.parquet cannot be read" in str(error)
    assert len(found) == 3


def test_other_parquet_files_are_none_of_ours(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "part_0.parquet")
    assert sources(tmp_path) == {}


def test_without_pyarrow_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (error,) = find_sources(FOLDER, Target())
    assert "pip install 'kelt[importers]'" in str(error)
