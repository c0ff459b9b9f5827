"""Makes `mlruns.tar.gz` and `mlflow.db.gz` beside this file with the real MLflow (README.md says how)."""

import gzip
import math
import os
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
HERE = Path(__file__).parent
ROWS = 20


def log_runs(uri):
    from mlflow.entities import (
        Dataset,
        DatasetInput,
        InputTag,
        LoggedModelOutput,
        Metric,
        RunStatus,
    )  # fmt: skip
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("digits", artifact_location="/artifacts")

    def start(name, **tags):
        plain = {"mlflow.user": "somebody", "mlflow.source.name": "train.py"}
        run = client.create_run(
            experiment, start_time=1_700_000_000_000, run_name=name, tags=plain | tags
        )
        return run.info.run_id

    def end(run_id, status, at=1_700_000_100_000):
        client.set_terminated(run_id, status=status, end_time=at)

    parent = start("parent", **{"mlflow.note.content": "a note", "team": "blue"})
    for key, value in {"lr": 0.1, "layers": 3, "net": "cnn", "flag": True, "id": "007"}.items():
        client.log_param(parent, key, value)
    for step in range(ROWS):
        at = 1_700_000_000_000 + step * 1000
        client.log_batch(parent, [
            Metric("loss", 1 / (step + 3), at, step), Metric("val/acc", step % 7, at + 1, step),
        ])  # fmt: skip
    client.log_batch(parent, [
        Metric("odd", value, 1_700_000_050_000, step)
        for step, value in enumerate([math.nan, math.inf, -math.inf])
    ])  # fmt: skip
    data = Dataset(name="d", digest="1", source_type="local", source="s")
    client.log_inputs(parent, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    model = client.create_logged_model(experiment, name="m", source_run_id=parent)
    client.log_outputs(parent, [LoggedModelOutput(model.model_id, step=1)])
    end(parent, "FINISHED")
    child = start("child", **{"mlflow.parentRunId": parent})
    for number in range(5):  # no step is said
        client.log_metric(child, "x", float(number), timestamp=1_700_000_000_000 + number * 10)
    end(child, "FAILED")
    killed = start("killed")
    client.log_metric(killed, "x", 1.5, timestamp=1_700_000_000_000, step=4)
    end(killed, RunStatus.to_string(RunStatus.KILLED))
    running = start("running")
    client.log_metric(running, "x", 2.5, timestamp=1_700_000_000_000, step=1)
    deleted = start("deleted")
    client.delete_run(deleted)
    gone = client.create_experiment("gone", artifact_location="/artifacts")
    client.create_run(gone, start_time=1_700_000_000_000)
    client.delete_experiment(gone)


def nobodys(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def main():
    with tempfile.TemporaryDirectory() as scratch:
        log_runs((Path(scratch) / "mlruns").as_uri())
        shutil.rmtree(Path(scratch) / "mlruns" / "0")  # it names where it was made
        with tarfile.open(HERE / "mlruns.tar.gz", "w:gz") as out:
            out.add(Path(scratch) / "mlruns", "mlruns", filter=nobodys)
        database = Path(scratch) / "mlflow.db"
        log_runs(f"sqlite:///{database}")
        with sqlite3.connect(database) as db:
            db.execute("UPDATE experiments SET artifact_location = '/artifacts'")
        db = sqlite3.connect(database)
        db.execute("VACUUM")
        db.close()
        with gzip.GzipFile(HERE / "mlflow.db.gz", "wb", mtime=0) as out:
            out.write(database.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
