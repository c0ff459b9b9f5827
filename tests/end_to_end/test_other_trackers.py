"""What TensorBoard, MLflow and Neptune's exporter wrote, sent to kelt's server by `kelt sync`."""

import gzip
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from kelt import Api

MADE_BY = Path(__file__).parents[1] / "other_trackers" / "made_by"


@pytest.fixture
def stores(tmp_path):
    """A folder with something of each."""
    folder = tmp_path / "stores"
    for name in ("tensorboard", "neptune"):
        shutil.copytree(MADE_BY / name, folder / name)
    (folder / "mlflow.db").write_bytes(gzip.decompress((MADE_BY / "mlflow.db.gz").read_bytes()))
    return folder


def runs_of(server, *projects):
    """What the server shows of every run."""
    shown = {}
    with Api(server.url) as api:
        for project in projects:
            for run in api.runs(project):
                shown[project, run.name] = (
                    run.state, run.tags, run.config, run.summary, run.rows, run.lost_rows,
                    list(run.scan_history()), [branch.immutable_id for branch in run.archived],
                )  # fmt: skip
    return json.loads(
        json.dumps([[*map(str, item)] for item in sorted(shown.items(), key=str)])
    ), shown


def test_all_of_them_arrive_once_however_often_and_from_wherever_they_are_synced(
    stores, host, other_host, server
):
    before = {p: p.read_bytes() for p in stores.rglob("*") if p.is_file()}
    out, _ = host.kelt("sync", "--dry-run", stores)
    assert "14 runs: 96 rows" in out
    out, _ = host.kelt("sync", stores)
    assert "Synced 14 runs" in out
    assert "not carried over: 1 file, 1 histogram" in out
    said, shown = runs_of(server, "stores", "tensorboard", "digits")
    assert len(shown) == 13  # one of TensorBoard's is in two files
    assert {name: facts[0] for (_, name), facts in shown.items() if facts[0] != "finished"} == {
        "bad": "failed", "child": "failed", "killed": "failed", "running": "running",
    }  # fmt: skip
    torch = shown["tensorboard", "tensorboard/torch"]
    assert [row["acc/train"] for row in torch[6]] == [step % 7 for step in range(20)]
    purged = shown["tensorboard", "tensorboard/purged"]
    assert [row["x"] for row in purged[6]] == [0, 1, 2, 3, 4, 5, 106, 107, 108]
    parent = shown["digits", "parent"]
    assert (parent[1], parent[2]["lr"]) == (["team:blue"], 0.1)
    assert [row["loss"] for row in parent[6]] == [1 / (step + 3) for step in range(20)]
    fork = shown["digits", "forked"]
    assert [row["metrics/loss"] for row in fork[6]] == [1 / (s + 3) for s in range(5)] + [5, 6, 7]
    out, _ = host.kelt("sync", stores)
    assert "sent 0 records" in out
    elsewhere = other_host.state_dir.parent / "elsewhere-stores" / "stores"
    shutil.copytree(stores, elsewhere)
    other_host.kelt("sync", elsewhere)
    assert runs_of(server, "stores", "tensorboard", "digits")[0] == said
    assert before == {p: p.read_bytes() for p in stores.rglob("*") if p.is_file()}


def test_a_run_that_goes_on_continues_and_takes_its_end(stores, host, server, reader):
    database = stores / "mlflow.db"
    host.kelt("sync", database, "--project", "mine")
    with sqlite3.connect(database) as db:
        (run_id,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'running'").fetchone()
        for step in range(2, 5):
            point = ("x", step / 2, 1_700_000_000_000 + step, run_id, step, False)
            db.execute(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
                "VALUES (?, ?, ?, ?, ?, ?)", point,
            )  # fmt: skip
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


def test_damage_costs_its_part_and_the_run_shows_it(stores, host, reader):
    (events,) = (stores / "tensorboard" / "torch").iterdir()
    raw = bytearray(events.read_bytes())
    raw[raw.index(b"acc/train") + 2] ^= 0xFF
    events.write_bytes(raw)
    (part,) = stores.rglob("base_part_1.parquet")
    part.write_bytes(part.read_bytes()[:200])
    (gone,) = stores.rglob("bad_part_0.parquet")
    gone.write_bytes(b"PAR1")
    out, _ = host.kelt("sync", stores / "tensorboard" / "torch", stores / "neptune", code=1)
    assert "bad_part_0.parquet cannot be read" in out
    torch = reader.run("torch", project="tensorboard")
    base = reader.run("base", project="digits")
    for run, said in ((torch, "are damaged"), (base, "base_part_1.parquet cannot be read")):
        (loss,) = run["losses"]
        assert (run["lost_rows"], loss["rows"]) == (1, 1)
        assert said in loss["reason"]
    assert len(reader.history("torch", project="tensorboard")) == 20
    assert len(reader.history("fork", project="digits")) == 8


def test_what_is_nothing_of_it_is_named(tmp_path, host):
    (tmp_path / "train.py").write_text("print()")
    _, err = host.kelt("sync", tmp_path / "train.py", code=2)
    assert "is no file of a tracker that kelt knows. Name run folders" in err
    out, _ = host.kelt("sync", tmp_path, code=1)
    assert "no run of TensorBoard, MLflow or Neptune" in out
    _, err = host.kelt("sync", MADE_BY / "neptune", "--project", "a/b", code=2)
    assert "--project is 'a/b'" in err
