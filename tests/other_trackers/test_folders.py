"""Run folders made of other trackers' runs: the same each time, growing with the source."""

import shutil
from pathlib import Path

import pytest

from harness.foreign_reading import sources
from harness.spools import read_rows
from kelt.import_folders import IMPORTS_NAME
from kelt.journal.reader import read_journal_segment
from kelt.other_trackers.folders import bring_in
from kelt.other_trackers.tensorboard.tfrecords import encode_record
from kelt.run_folder import read_manifest
from kelt.state_dir import StateDir
from kelt_proto.tensorboard.event_pb2 import Event
from kelt_proto.v1.frames import Kind, iter_frames
from kelt_proto.v1.record_pb2 import Config, Loss, RunInfo

MADE_BY = Path(__file__).parent / "made_by"
UPSTREAM = "http://127.0.0.1:1"


@pytest.fixture
def state_dir(tmp_path):
    return StateDir(tmp_path / "state")


class MlflowRunFolder:
    """One run of a file store, which can be written on."""

    def __init__(self, folder):
        experiment = folder / "mlruns" / "1"
        self.path = experiment / "aa11"
        for kind in ("metrics", "params", "tags"):
            (self.path / kind).mkdir(parents=True)
        (experiment / "meta.yaml").write_text(
            "experiment_id: '1'\nname: e\nlifecycle_stage: active\n"
        )
        self.status(3)

    def status(self, status, end_time=2000):
        (self.path / "meta.yaml").write_text(
            f"run_id: aa11\nrun_name: n\nstatus: {status}\nstart_time: 1000\nend_time: {end_time}\n"
            "lifecycle_stage: active\n"
        )

    def log(self, *points):
        with (self.path / "metrics" / "x").open("a") as lines:
            lines.writelines(f"{at} {value} {step}\n" for at, value, step in points)


@pytest.fixture
def mlflow_run(tmp_path):
    return MlflowRunFolder(tmp_path)


def brought(path, state_dir):
    ((source,),) = sources(path).values()
    return bring_in(source, state_dir=state_dir, upstream=UPSTREAM)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "import-source.json"}


def values(folder):
    return [(step, row["x"]) for _, step, row in read_rows(folder)]


def said(folder):
    """What the journal says: (writer, kind, payload)."""
    found = []
    for entry in read_journal_segment(folder / "journal-000001.kelt"):
        frames = iter_frames(memoryview(bytes(entry.payload)))
        found += [(entry.writer_id, frame.kind, bytes(frame.payload)) for frame in frames]
    return found


def test_the_same_source_gives_the_same_bytes_anywhere(state_dir, tmp_path):
    first, _ = brought(MADE_BY / "tensorboard" / "torch", state_dir)
    shutil.copytree(MADE_BY / "tensorboard" / "torch", tmp_path / "copy" / "torch")
    second, _ = brought(tmp_path / "copy" / "torch", StateDir(tmp_path / "elsewhere"))
    assert first.name == second.name
    assert contents(first) == contents(second)
    manifest = read_manifest(first)
    assert (manifest.project, manifest.run_id, manifest.machine_id) == (
        "tensorboard",
        "torch",
        "import",
    )


def test_an_unchanged_source_is_not_read_again(state_dir):
    path = MADE_BY / "tensorboard" / "torch"
    folder, found = brought(path, state_dir)
    assert found is not None
    assert brought(path, state_dir) == (folder, None)


def test_an_event_file_that_grows_continues(state_dir, tmp_path):
    path = tmp_path / "r" / "events.out.tfevents.1.a"
    path.parent.mkdir()
    events = [Event(wall_time=1.5, file_version="brain.Event:2")]
    events += [
        Event(wall_time=2.0 + s, step=s, summary={"value": [{"tag": "x", "simple_value": s}]})
        for s in range(1, 9)
    ]
    raw = [encode_record(event.SerializeToString()) for event in events]
    path.write_bytes(b"".join(raw[:5]) + raw[5][:9])
    folder, _ = brought(path.parent, state_dir)
    assert values(folder) == [(s, float(s)) for s in range(1, 5)]
    path.write_bytes(b"".join(raw))
    assert brought(path.parent, state_dir)[0] == folder
    assert values(folder) == [(s, float(s)) for s in range(1, 9)]


def test_a_store_that_grows_in_time_continues_and_its_facts_are_another_session(
    mlflow_run, state_dir
):
    mlflow_run.log((1000, 0.5, 1), (1100, 0.6, 2))
    folder, _ = brought(mlflow_run.path, state_dir)
    before = said(folder)
    (mlflow_run.path / "params" / "lr").write_text("0.1")
    mlflow_run.log((1200, 0.7, 3))
    assert brought(mlflow_run.path, state_dir)[0] == folder
    assert values(folder) == [(1, 0.5), (2, 0.6), (3, 0.7)]
    after = said(folder)
    assert [kind for _, kind, _ in before] == [Kind.RUN_OPENED, Kind.RUN_INFO, Kind.EXIT]
    assert [kind for _, kind, _ in after] == [
        Kind.RUN_OPENED, Kind.CONFIG, Kind.RUN_INFO, Kind.EXIT,
    ]  # fmt: skip
    assert after[0][0] > before[0][0]  # the newest of two sessions that began at one time
    assert Config.FromString(after[1][2]).items[0].json == "0.1"
    assert RunInfo.FromString(after[2][2]).name == "n"


def test_a_run_that_is_renamed_stays_the_same_run(mlflow_run, state_dir):
    mlflow_run.log((1000, 0.5, 1))
    folder, _ = brought(mlflow_run.path, state_dir)
    meta = mlflow_run.path / "meta.yaml"
    meta.write_text(meta.read_text().replace("run_name: n", "run_name: other"))
    assert brought(mlflow_run.path, state_dir)[0] == folder
    (renamed,) = [RunInfo.FromString(raw) for _, kind, raw in said(folder) if kind == Kind.RUN_INFO]
    assert renamed.name == "other"


def test_an_older_copy_of_an_event_file_takes_nothing_back(state_dir, tmp_path):
    (file,) = (MADE_BY / "tensorboard" / "torch").iterdir()
    path = tmp_path / "torch" / file.name
    path.parent.mkdir()
    shutil.copy(file, path)
    folder, _ = brought(path.parent, state_dir)
    before = contents(folder)
    path.write_bytes(file.read_bytes()[:2000])
    assert brought(path.parent, state_dir)[0] == folder
    assert contents(folder) == before


def test_facts_that_are_what_they_were_are_the_same_session(mlflow_run, state_dir):
    mlflow_run.log((1000, 0.5, 1))
    folder, _ = brought(mlflow_run.path, state_dir)
    before = said(folder)
    mlflow_run.status(3)  # written again, to the same
    mlflow_run.log((1200, 0.7, 3))
    brought(mlflow_run.path, state_dir)
    assert said(folder) == before


def test_a_store_that_was_changed_in_its_middle_is_taken_over_as_another_edition(
    mlflow_run, state_dir
):
    mlflow_run.log((1000, 0.5, 1), (1200, 0.6, 3))
    first, _ = brought(mlflow_run.path, state_dir)
    mlflow_run.log((1100, 0.55, 2))
    second, _ = brought(mlflow_run.path, state_dir)
    assert second != first
    assert values(second) == [(1, 0.5), (2, 0.55), (3, 0.6)]
    assert values(first) == [(1, 0.5), (3, 0.6)]
    assert read_manifest(second).started_at > read_manifest(first).started_at
    assert brought(mlflow_run.path, state_dir) == (second, None)


def test_damage_without_a_place_is_told_by_a_witness(mlflow_run, state_dir):
    mlflow_run.log((1000, 0.5, 1), ("broken", 0.6, 2))
    folder, _ = brought(mlflow_run.path, state_dir)
    writer, kind, payload = said(folder)[-1]
    loss = Loss.FromString(payload)
    assert (kind, loss.rows) == (Kind.LOSS, 1)
    assert writer != loss.writer_id == bytes.fromhex(read_manifest(folder).writer_id)


def test_nothing_but_the_folder_is_left_behind(mlflow_run, state_dir):
    mlflow_run.log((1000, 0.5, 1))
    folder, _ = brought(mlflow_run.path, state_dir)
    assert {p.name for p in (state_dir.root / IMPORTS_NAME).iterdir()} == {"lock", folder.name}
    assert {p.name for p in folder.iterdir()} == {
        "run.json", "spool-000001.kelt", "journal-000001.kelt", "import-source.json", "whole",
    }  # fmt: skip
