"""Stores that the real MLflow made (made_by/README.md): files, and its database."""

import gzip
import math
import re
import shutil
import sqlite3
import sys
import tarfile
from pathlib import Path

import pytest

from harness.foreign_reading import history, sources, taken_over
from harness.wandb_reading import of_kind
from kelt.journal.reader import read_journal_segment
from kelt.journal.segments import segment_numbers, segment_path
from kelt.other_trackers.finding import find_sources
from kelt.other_trackers.folders import bring_in
from kelt.other_trackers.foreign_run import ForeignRunError, Target
from kelt.other_trackers.mlflow.mlflow_run import plain_value
from kelt.state_dir import StateDir
from kelt_proto.v1.frames import Kind, iter_frames
from kelt_proto.v1.record_pb2 import FilePiece

MADE_BY = Path(__file__).parent / "made_by"
ROWS = 20


@pytest.fixture(params=["files", "database"])
def store(request, tmp_path):
    if request.param == "files":
        with tarfile.open(MADE_BY / "mlruns.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / "mlruns"
    path = tmp_path / "mlflow.db"
    path.write_bytes(gzip.decompress((MADE_BY / "mlflow.db.gz").read_bytes()))
    return path


@pytest.fixture
def state_dir(tmp_path):
    return StateDir(tmp_path / "state")


def run(store, name):
    (source,) = sources(store)[name]
    return taken_over(source)


def test_runs_that_are_not_deleted_are_found_with_their_experiment(store):
    found = sources(store)
    assert set(found) == {"parent", "child", "killed", "running"}
    opened = found["parent"][0].run(0)
    assert (opened.project, opened.started_at) == ("digits", 1_700_000_000)
    assert len(opened.run_id) == 32
    assert sources(store, project="q")["parent"][0].run(0).project == "q"


def test_metrics_become_rows_of_their_steps_and_times(store):
    found, records = run(store, "parent")
    rows = history(records)
    assert sorted(rows) == list(range(ROWS))
    for step in range(ROWS):
        assert (rows[step]["loss"], rows[step]["val/acc"]) == (1 / (step + 3), step % 7)
    assert math.isnan(rows[0]["odd"])
    assert (rows[1]["odd"], rows[2]["odd"]) == (math.inf, -math.inf)
    first = of_kind(records, Kind.ROW)[0]
    assert first.header.timestamp == 1_700_000_000.001
    assert found.tally.lost_rows == 0


def test_parameters_tags_and_the_end_are_facts(store):
    found, _ = run(store, "parent")
    facts = found.tally.facts
    logged = {"lr": 0.1, "layers": 3, "net": "cnn", "flag": True, "id": "007"}
    own = {"mlflow.user": "somebody", "mlflow.source.name": "train.py"}
    assert facts.config == logged | own
    assert (facts.info.name, facts.info.notes, facts.info.tags) == (
        "parent",
        "a note",
        ("team:blue",),
    )
    assert (facts.exit_code, facts.ended_at) == (0, 1_700_000_100)
    for name, exit_code in (("child", 1), ("killed", 1), ("running", None)):
        assert run(store, name)[0].tally.facts.exit_code == exit_code
    child = run(store, "child")[0].tally.facts
    parent = sources(store)["parent"][0].run_id
    assert (child.info.group, child.config) == (parent, own | {"mlflow.parentRunId": parent})


def test_values_that_were_logged_without_a_step_are_counted(store):
    assert history(run(store, "child")[1]) == {step: {"x": float(step)} for step in range(5)}


def test_what_a_running_run_logged_just_now_waits(store, monkeypatch):
    from kelt.other_trackers.mlflow import mlflow_run

    found, records = run(store, "running")
    assert (history(records), found.tally.state) == ({1: {"x": 2.5}}, "running")
    monkeypatch.setattr(mlflow_run.time, "time", lambda: 1_700_000_030.0)
    found, records = run(store, "running")
    assert history(records) == {}
    assert "1 of its newest values wait for the next sync" in found.tally.note


def test_a_damaged_line_of_a_metric_costs_itself_and_is_counted(tmp_path):
    with tarfile.open(MADE_BY / "mlruns.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (path,) = tmp_path.rglob("metrics/loss")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = b"1700000004000 0.\xff42 4\n"
    path.write_bytes(b"".join(lines) + b"17000000")  # and one that is being written
    found, records = run(tmp_path, "parent")
    assert [step for step, row in history(records).items() if "loss" not in row] == [4]
    assert found.tally.lost_rows == 1
    assert "line 5 of MLflow's file loss cannot be read" in found.tally.damage


def test_a_damaged_description_costs_its_run_alone(tmp_path):
    with tarfile.open(MADE_BY / "mlruns.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    found = sources(tmp_path)
    meta = found["child"][0].path / "meta.yaml"
    meta.write_text(meta.read_text() + "\n  : : [")
    after = find_sources(tmp_path, Target())
    (error,) = [item for item in after if isinstance(item, ForeignRunError)]
    assert "meta.yaml is damaged" in str(error)
    assert len(after) == len(found)


def test_a_damaged_page_of_the_database_costs_the_values_that_it_holds(tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_bytes(gzip.decompress((MADE_BY / "mlflow.db.gz").read_bytes()))
    with sqlite3.connect(path) as db:
        (run_id,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'parent'").fetchone()
        db.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "VALUES ('many', 1.0, ?, ?, ?, 0)",
            [(1_700_000_000_000 + step, run_id, step) for step in range(5000)],
        )
    db.close()
    raw = bytearray(path.read_bytes())
    leaf = 0x0D  # of a table, and not of its index, which has the keys too
    pages = [at for at in range(0, len(raw), 4096) if raw[at] == leaf]
    page = [at for at in pages if b"many" in raw[at : at + 4096]][-1]
    raw[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(raw)
    found, records = run(tmp_path, "parent")
    assert found.tally.lost_rows == 1
    assert "MLflow's database is damaged" in found.tally.damage
    assert 0 < len(history(records)) < 5000


def test_a_database_of_something_else_is_none_of_ours(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE runs (x)")
    db.close()
    assert sources(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("3", 3), ("-1e-05", -1e-05), ("007", "007"), ("True", True), ("None", None), ("1.0", 1.0),
     ("1.10", "1.10"), ("", ""), ("[1, 2]", "[1, 2]")],
)  # fmt: skip
def test_a_parameter_is_what_was_logged_where_its_text_leaves_no_doubt(text, wanted):
    assert repr(plain_value(text)) == repr(wanted)


def test_without_pyyaml_the_remedy_is_said(tmp_path, monkeypatch):
    with tarfile.open(MADE_BY / "mlruns.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.setitem(sys.modules, "yaml", None)
    errors = find_sources(tmp_path, Target())
    assert errors
    assert all("pip install 'kelt[importers]'" in str(error) for error in errors)


@pytest.fixture
def with_artifacts(store):
    """The run `parent` with files where its store names them; returns the folder."""
    (source,) = sources(store)["parent"]
    if store.is_dir():
        artifacts = source.path / "artifacts"
    else:
        artifacts = store.parent / "artifacts of it"
        with sqlite3.connect(store) as db:  # relative to where the server was started
            db.execute("UPDATE runs SET artifact_uri = './artifacts of it'")
            db.execute(
                "INSERT INTO trace_request_metadata VALUES ('mlflow.sourceRun', ?, 'tr-1')",
                (source.run_id,),
            )
        db.close()
    (artifacts / "deep").mkdir(parents=True, exist_ok=True)
    (artifacts / "a.txt").write_text("first")
    (artifacts / "deep" / "weights").write_bytes(bytes(range(256)) * 5000)
    return artifacts


def file_contents(folder):
    """What the pieces of a folder's journals come to, newest version by name."""
    found = {}
    for number in segment_numbers(folder, "journal"):
        for entry in read_journal_segment(segment_path(folder, "journal", number)):
            for frame in iter_frames(memoryview(entry.payload)):
                if frame.kind == Kind.FILE_PIECE:
                    piece = FilePiece.FromString(bytes(frame.payload))
                    before = found.get((piece.name, piece.version), b"")
                    assert len(before) == piece.offset_bytes
                    found[piece.name, piece.version] = before + piece.content
    return [(name, content) for (name, _), content in found.items()]


def test_artifacts_that_lie_in_the_store_are_files_of_the_run(store, with_artifacts, state_dir):
    (source,) = sources(store)["parent"]
    folder, found = bring_in(source, state_dir=state_dir, upstream="")
    weights = bytes(range(256)) * 5000
    assert file_contents(folder) == [("a.txt", b"first"), ("deep/weights", weights)]
    traces = {} if store.is_dir() else {"trace": 1}
    assert +found.tally.not_carried == {"dataset": 1, "model": 1} | traces
    assert bring_in(source, state_dir=state_dir, upstream="")[1] is None
    # Of what changes only the new version is added; what others' files are is nobody's business.
    (with_artifacts / "a.txt").write_text("second")
    (with_artifacts / "passwords").symlink_to("/etc/passwd")
    _, found = bring_in(source, state_dir=state_dir, upstream="")
    assert found.tally.not_carried["link"] == 1
    assert file_contents(folder) == [
        ("a.txt", b"first"), ("deep/weights", weights), ("a.txt", b"second"),
    ]  # fmt: skip


def test_artifacts_outside_the_store_are_not_looked_at(store, tmp_path):
    (source,) = sources(store)["parent"]
    if store.is_dir():
        meta = source.path / "meta.yaml"
        shutil.rmtree(source.path / "artifacts", ignore_errors=True)
        meta.write_text(re.sub("artifact_uri: .*", "artifact_uri: file:///etc", meta.read_text()))
    else:
        with sqlite3.connect(store) as db:
            db.execute("UPDATE runs SET artifact_uri = '../../../../../../etc'")
        db.close()
    found, _ = run(store, "parent")
    assert not found.tally.files.files
    assert "etc were not looked at" in found.tally.note


def test_artifacts_that_are_elsewhere_are_named(store):
    if store.is_dir():
        for meta in store.glob("*/*/meta.yaml"):
            text = meta.read_text()
            meta.write_text(re.sub("artifact_uri: .*", "artifact_uri: s3://bucket/a", text))
    else:
        with sqlite3.connect(store) as db:
            db.execute("UPDATE runs SET artifact_uri = 's3://bucket/a'")
        db.close()
    assert "its artifacts at s3://bucket/a were not looked at" in run(store, "child")[0].tally.note
