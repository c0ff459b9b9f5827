"""What TensorBoard, MLflow and Neptune's exporter wrote, sent to kelt's server by `kelt sync`."""

import gzip
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from harness.stack import Host, Reader, ServerProcess
from kelt import Api

MADE_BY = Path(__file__).parents[1] / "other_trackers" / "made_by"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = ServerProcess(tmp_path_factory.mktemp("server")).start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def host(tmp_path_factory, server):
    host = Host(tmp_path_factory.mktemp("host") / "state", server.url)
    yield host
    host.close()


@pytest.fixture
def reader(server):
    return Reader(server.url)


@pytest.fixture
def stores(tmp_path):
    """A folder with something of each."""
    folder = tmp_path / "stores"
    for name in ("tensorboard", "neptune"):
        shutil.copytree(MADE_BY / name, folder / name)
    (folder / "mlflow.db").write_bytes(gzip.decompress((MADE_BY / "mlflow.db.gz").read_bytes()))
    return folder


def runs_of(server, project):
    """What the server shows of a project's runs, by their display names."""
    with Api(server.url) as api:
        return {
            run.name: {
                "state": run.state, "tags": run.tags, "config": run.config, "losses": run.losses,
                "archived": len(run.archived), "rows": list(run.scan_history()),
            }
            for run in api.runs(project)
        }  # fmt: skip


def column(run, name):
    return [row[name] for row in run["rows"]]


def test_all_of_them_arrive_once_however_often_they_are_synced(stores, host, other_host, server):
    before = {p: p.read_bytes() for p in stores.rglob("*") if p.is_file()}
    out, _ = host.kelt("sync", "--project", "all", stores)
    assert "14 runs: 96 rows" in out
    assert "Synced 14 runs" in out
    assert "not carried over: 1 file" in out
    runs = runs_of(server, "all")
    assert len(runs) == 13  # one of TensorBoard's is in two files
    assert {name: run["state"] for name, run in runs.items() if run["state"] != "finished"} == {
        "bad": "failed", "child": "failed", "killed": "failed", "running": "running",
    }  # fmt: skip
    assert column(runs["tensorboard/torch"], "acc/train") == [step % 7 for step in range(20)]
    assert column(runs["tensorboard/purged"], "x") == [0, 1, 2, 3, 4, 5, 106, 107, 108]
    assert (runs["parent"]["tags"], runs["parent"]["config"]["lr"]) == (["team:blue"], 0.1)
    assert column(runs["parent"], "loss") == [1 / (step + 3) for step in range(20)]
    assert column(runs["forked"], "metrics/loss") == [1 / (s + 3) for s in range(5)] + [5, 6, 7]
    out, _ = host.kelt("sync", "--project", "all", stores)
    assert "sent 0 records" in out
    if os.environ.get("KELT_TEST_LONG"):
        other_host.kelt("sync", "--project", "all", stores)
    assert str(runs_of(server, "all")) == str(runs)
    assert before == {p: p.read_bytes() for p in stores.rglob("*") if p.is_file()}


def test_a_run_that_goes_on_continues_and_takes_its_end(stores, host, reader):
    database = stores / "mlflow.db"
    host.kelt("sync", database, "--project", "mine")
    with sqlite3.connect(database) as db:
        (run_id,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'running'").fetchone()
        db.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "VALUES ('x', ?, ?, ?, ?, 0)",
            [(step / 2, 1_700_000_000_000 + step, run_id, step) for step in range(2, 5)],
        )
        db.execute("INSERT INTO tags VALUES ('team', 'red', ?)", (run_id,))
        db.execute(
            "UPDATE runs SET status = 'FINISHED', end_time = 1700000009000 WHERE run_uuid = ?",
            (run_id,),
        )
    db.close()
    assert reader.run(run_id, project="mine")["state"] == "running"
    host.kelt("sync", database, "--project", "mine")
    run = reader.run(run_id, project="mine")
    assert (run["state"], run["tags"], run["archived"]) == ("finished", ["team:red"], [])
    rows = reader.history(run_id, project="mine")
    assert rows == [{"step": 1, "x": 2.5}, *({"step": s, "x": s / 2} for s in range(2, 5))]


def test_an_event_file_that_grows_in_the_middle_of_a_step_is_completed(stores, host, reader):
    (events,) = (stores / "tensorboard" / "torch").iterdir()
    whole = events.read_bytes()
    cut = whole.index(b"acc/train", len(whole) // 5) - 25  # behind the loss of the same step
    events.write_bytes(whole[:cut])
    host.kelt("sync", events.parent, "--project", "grows")
    rows = reader.history("torch", project="grows")
    assert rows[-1].keys() == {"step", "loss"}
    assert len(rows) < 20
    events.write_bytes(whole)
    host.kelt("sync", events.parent, "--project", "grows")
    rows = reader.history("torch", project="grows")
    assert [row["acc/train"] for row in rows] == [step % 7 for step in range(20)]
    assert len({row["loss"] for row in rows}) == 20
    assert reader.run("torch", project="grows")["archived"] == []


def test_damage_costs_its_part_and_the_run_shows_it(stores, host, reader):
    (events,) = (stores / "tensorboard" / "torch").iterdir()
    raw = bytearray(events.read_bytes())
    raw[raw.index(b"acc/train") + 2] ^= 0xFF
    events.write_bytes(raw)
    (part,) = stores.rglob("base_part_1.parquet")
    part.write_bytes(part.read_bytes()[:200])
    (gone,) = stores.rglob("bad_part_0.parquet")
    gone.write_bytes(b"PAR1")
    out, _ = host.kelt("sync", "--project", "harmed", events.parent, stores / "neptune", code=1)
    assert "bad_part_0.parquet cannot be read" in out
    for name, said in (("torch", "are damaged"), ("base", "base_part_1.parquet cannot be read")):
        run = reader.run(name, project="harmed")
        (loss,) = run["losses"]
        assert (run["lost_rows"], loss["rows"]) == (1, 1)
        assert said in loss["reason"]
    assert len(reader.history("torch", project="harmed")) == 20
    assert len(reader.history("fork", project="harmed")) == 8


def test_what_is_nothing_of_it_is_named(tmp_path, host):
    (tmp_path / "train.py").write_text("print()")
    _, err = host.kelt("sync", tmp_path / "train.py", code=2)
    assert "is no file of a tracker that kelt knows. Name run folders" in err
    out, _ = host.kelt("sync", tmp_path, code=1)
    assert "no run of TensorBoard, MLflow or Neptune" in out
