"""Trainings with the real frameworks, in an environment of their own: `make test-integrations`.

There wandb is not installed. By `kelt run` each framework's own integration for wandb is tried, and
kelt's callbacks by killing a training and going on from its checkpoint.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from harness.stack import Host, Reader, ServerProcess

_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = _ROOT / ".venv-integrations"
_SCRIPTS = Path(__file__).parent / "scripts"

pytestmark = [
    pytest.mark.skipif(
        not (_ENVIRONMENT / ".done").exists(),
        reason="the frameworks are not installed; make test-integrations does it",
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.start()
    yield Reader(process.url)
    process.stop()


@pytest.fixture
def host(tmp_path, reader):
    host = Host(tmp_path / "state", reader.url)
    yield host
    host.close()


def train(host: Host, folder: Path, *command: str, code: int = 0, **environment: str) -> str:
    """Runs a script of `scripts/` in a folder; by `kelt run` where it logs to wandb."""
    script, *options = command
    how = [] if "kelt" in options else ["-m", "kelt.as_wandb"]
    python = str(_ENVIRONMENT / "bin" / "python")
    process = host.start_command(
        ["env", "-C", str(folder), python, *how, str(_SCRIPTS / script), *options],
        HF_HUB_OFFLINE="1",
        CUDA_VISIBLE_DEVICES="",
        **environment,
    )
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, out + err
    return err


def the_run(reader: Reader, project: str) -> dict[str, Any]:
    [run] = reader.get("/runs", project=project)["runs"]
    return reader.run(run["run_id"], project)


def values(reader: Reader, run: dict[str, Any], key: str) -> list[tuple[int, Any]]:
    rows = reader.history(run["run_id"], run["project"])
    return [(row["step"], row[key]) for row in rows if key in row]


def versions(reader: Reader, run: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """What the run logged as artifacts: version and aliases."""
    path = f"/runs/{run['entity']}/{run['project']}/{run['run_id']}/artifacts"
    return [(item["version"], item["aliases"]) for item in reader.get(path)["logged"]]


def test_the_trainer_reports_to_wandb(host, reader, tmp_path):
    train(host, tmp_path, "trainer.py", "--by", "wandb", WANDB_LOG_MODEL="checkpoint")
    run = the_run(reader, "huggingface")
    assert (run["state"], run["lost_rows"]) == ("finished", 0)
    assert [at for _, at in values(reader, run, "train/global_step")] == [
        2, 4, 4, 6, 8, 8, 10, 12, 12, 12,
    ]  # fmt: skip
    assert len(values(reader, run, "train/loss")) == 6
    assert len(values(reader, run, "eval/loss")) == 3
    assert run["summary"]["train_loss"] > 0
    assert (run["config"]["max_steps"], run["config"]["output_dir"]) == (12, "checkpoints")
    axes = {said["name"]: said["step_metric"] for said in run["definitions"]}
    assert axes["*"] == "train/global_step"
    assert versions(reader, run) == [
        ("v0", ["base_model"]),
        ("v1", ["checkpoint_global_step_4", "epoch_0.5"]),
        ("v2", ["checkpoint_global_step_8", "epoch_1.0"]),
        ("v3", ["checkpoint_global_step_12", "epoch_1.5"]),
        ("v4", ["final_model", "latest"]),
    ]


def test_lightnings_wandb_logger(host, reader, tmp_path):
    said = train(host, tmp_path, "lightning_fit.py", "--by", "wandb")
    run = the_run(reader, "lightning-by-wandb")
    assert (run["state"], run["config"]) == ("finished", {"lr": 0.1})
    assert len(values(reader, run, "train/loss")) == 8
    assert len(values(reader, run, "val/loss")) == 2
    assert values(reader, run, "texts")[0][1]["data"] == [["one"], ["two"]]
    models = [("v0", []), ("v1", ["best", "latest"])]
    assert sorted(versions(reader, run)) == sorted([*models, ("v0", ["latest"])])  # the texts
    assert "wandb.Image is not carried by kelt" in said
    assert "wandb.watch" in said


def test_keras_callbacks_of_wandb(host, reader, tmp_path):
    said = train(host, tmp_path, "keras_fit.py", "--by", "wandb")
    run = the_run(reader, "keras-by-wandb")
    assert run["state"] == "finished"
    assert [at for _, at in values(reader, run, "batch/batch_step")] == [0, 2, 4, 6]
    assert [at for _, at in values(reader, run, "epoch/epoch")] == [0, 1]
    assert len(values(reader, run, "epoch/val_loss")) == len(values(reader, run, "val_mae")) == 2
    assert run["summary"]["best_val_loss"] == run["summary"]["val_loss"]
    assert (tmp_path / "m.keras").exists()
    assert "not carried" not in said
    assert versions(reader, run) == [("v0", ["epoch_0"]), ("v1", ["epoch_1", "latest"])]


def test_accelerates_tracker(host, reader, tmp_path):
    train(host, tmp_path, "accelerated.py")
    run = the_run(reader, "accelerate")
    assert (run["state"], run["config"]) == ("finished", {"lr": 0.1})
    assert values(reader, run, "loss") == [(0, 1), (1, 1 / 2), (2, 1 / 3)]


def check_went_on(reader: Reader, run: dict[str, Any], *, at: int) -> None:
    """The run went on from a step, and what the killed attempt had logged beyond it is archived."""
    assert (run["state"], run["lost_rows"]) == ("finished", 0)
    [ancestor] = run["lineage"]
    assert (ancestor["run_id"], ancestor["fork_step"], ancestor["kind"]) == (
        run["run_id"], at, "rewound",
    )  # fmt: skip
    [archived] = run["archived"]
    old = reader.get(f"/branches/{archived}")
    assert (old["state"], old["last_step"] > at) == ("crashed", True)


def test_a_killed_trainer_goes_on_from_its_checkpoint(host, reader, tmp_path):
    killed = -signal.SIGKILL
    train(host, tmp_path, "trainer.py", "--by", "kelt", "--die-after", "7", code=killed)
    train(host, tmp_path, "trainer.py", "--by", "kelt", "--resume")
    run = the_run(reader, "trainer")
    check_went_on(reader, run, at=4)
    assert [step for step, _ in values(reader, run, "train/loss")] == [2, 4, 6, 8, 10, 12]
    assert [step for step, _ in values(reader, run, "eval/loss")] == [4, 8, 12]
    assert (run["tags"], run["config"]["max_steps"]) == (["native"], 12)
    assert run["summary"]["train_loss"] > 0


def test_a_killed_fit_of_lightnings_goes_on_from_its_checkpoint(host, reader, tmp_path):
    killed = -signal.SIGKILL
    train(host, tmp_path, "lightning_fit.py", "--by", "kelt", "--die-after", "6", code=killed)
    checkpoint = "checkpoints/epoch=0.ckpt"
    train(host, tmp_path, "lightning_fit.py", "--by", "kelt", "--checkpoint", checkpoint)
    run = the_run(reader, "lightning")
    check_went_on(reader, run, at=3)
    assert [step for step, _ in values(reader, run, "train/loss")] == [*range(8)]
    assert [step for step, _ in values(reader, run, "val/loss")] == [3, 7]
    assert (run["name"], run["config"]) == ("fitted", {"lr": 0.1})


def test_a_killed_fit_of_keras_goes_on_from_its_backup(host, reader, tmp_path):
    killed = -signal.SIGKILL
    train(host, tmp_path, "keras_fit.py", "--by", "kelt", "--die-after", "6", code=killed)
    train(host, tmp_path, "keras_fit.py", "--by", "kelt")
    run = the_run(reader, "keras")
    check_went_on(reader, run, at=4)
    assert [step for step, _ in values(reader, run, "batch/loss")] == [*range(1, 9)]
    assert [step for step, _ in values(reader, run, "epoch/val_loss")] == [4, 8]
    assert (run["name"], run["config"]["parameters"]) == ("fitted", 2)
