"""The same script, by W&B's own client and by kelt with a W&B upstream: the server is told the same.

The judge is what the real client is recorded to say, and the values that the scripts log.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conformance.recordings import Told, told, told_of_artifacts

from harness.quick_daemon import QuickDaemon
from harness.stack import clean_environment
from harness.wandb_stub import ENTITY, KEY, PUT, WandbStub

#: Runs that end well, one after the other in one process.
LIFE = """
    run = wandb.init(id="plain", project="p", name="a name", notes="a note", tags=["a", "b"],
                     group="g", job_type="train", config={"lr": 0.1, "n": {"a": [1, 2]}})
    run.define_metric("loss", summary="min")
    run.define_metric("top", summary="max")
    run.define_metric("acc", step_metric="epoch", summary="mean")
    run.define_metric("val/*", step_metric="epoch", hidden=True)
    run.define_metric("quiet", summary="none")
    run.define_metric("several", summary="last,max,min,first")
    run.log({"loss": 1.5, "a": {"b": float("nan")}, "val/acc": 0.25, "epoch": 1, "c.d": 3,
             "s": "text é", "none": None, "inf": float("inf"), "-inf": -float("inf"),
             "l": [1, 2.5], "top": 3, "big": 2**53, "f": 1e21, "yes": True, "quiet": 1,
             "acc": 0.5, "several": 2})
    run.log({"loss": 0.5, "top": 2, "acc": 1.0, "several": 3}, commit=False)
    run.log({"x": 0.5})
    run.log({"loss": 2.5, "several": 1})
    run.config.update({"late": 5})
    run.summary["hand"] = 7
    run.summary["nest"] = {"z": 1}
    def data(path, **more):
        artifact = wandb.Artifact("data", "dataset", **more)
        with artifact.new_file(path) as file:
            file.write("the same")
        return artifact
    first = data("d/a.txt", description="why", metadata={"k": [1, 2.5], "s": "é"})
    with first.new_file("b.bin", "wb") as file:
        file.write(bytes(1000))
    first.add_reference("http://127.0.0.1:1/far", name="far", checksum=False)
    run.log_artifact(first, aliases=["two", "best"], tags=["t"])
    run.log_artifact(data("c"))
    run.log_artifact(data("d/e"), aliases=["best"])
    run.log_artifact(data("c"), aliases=["again"])
    far = wandb.Artifact("far", "dataset")
    far.add_reference("http://127.0.0.1:1/far", checksum=False)
    run.log_artifact(far)
    run.finish()

    run = wandb.init(id="parent", project="p", name="n", config={"lr": 0.1})
    for i in range(6):
        run.log({"x": i, "i": i * 10})
    run.finish()

    run = wandb.init(id="child", project="p", name="n", fork_from="parent?_step=3",
                     config={"lr": 0.2})
    run.log({"x": 100})
    run.log({"x": 101})
    run.finish()

    run = wandb.init(id="parent", project="p", name="n", resume_from="parent?_step=1")
    run.log({"x": 200})
    run.finish()

    run = wandb.init(id="parent", project="p", name="n", resume="must")
    run.log({"x": 300})
    run.finish()
"""
FAILING = """
    run = wandb.init(id="failing", project="p", name="n")
    run.log({"x": 1})
    sys.exit(3)
"""
OFFLINE = """
    run = wandb.init(id="offline", project="p", name="n", mode="offline", config={"a": 1})
    run.log({"x": 1.5})
    run.log({"x": 2.5})
    run.finish()
"""


@dataclass
class Recorded:
    """What each of them said, to a server of its own."""

    theirs: WandbStub
    ours: WandbStub
    wandb: dict[str, str]
    home: Path

    def both(self, run_id: str) -> tuple[list[Told], list[Told]]:
        return told(self.theirs, run_id), told(self.ours, run_id)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """All scripts, run by both."""
    home = tmp_path_factory.mktemp("both")
    with WandbStub() as theirs, WandbStub() as ours:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "KELT"))}
        wandb = keep | {
            "HOME": str(home), "WANDB_DIR": str(home), "WANDB_BASE_URL": theirs.url,
            "WANDB_API_KEY": KEY, "WANDB_CONSOLE": "off", "WANDB_X_DISABLE_STATS": "true",
            "WANDB_SILENT": "true",
        }  # fmt: skip
        state = home / "state"
        kelt = clean_environment() | {
            "KELT_DIR": str(state), "KELT_UPSTREAM": f"wandb+{ours.url}", "WANDB_API_KEY": KEY,
            "KELT_SILENT": "1",
        }  # fmt: skip
        daemon = QuickDaemon(state, environ=kelt, wandb_post_interval_s=0.1).start()
        processes = [
            _start(f"    import {module} as wandb, sys{code}", home, environment)
            for module, environment in (("wandb", wandb), ("kelt", kelt))
            for code in (LIFE, FAILING, OFFLINE)
        ]
        for process in processes:
            process.communicate(timeout=100)
        offline = next((home / "wandb").glob("offline-run-*"))
        syncs = (
            (["-m", "wandb", "sync", str(offline)], wandb),
            (["-m", "kelt.cli.main", "sync", "-y"], kelt),
        )
        for arguments, environment in syncs:
            done = subprocess.run(
                [sys.executable, *arguments], env=environment, cwd=home, capture_output=True,
                text=True, timeout=90, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
        daemon.stop()
        yield Recorded(theirs, ours, wandb, home)


def _start(code: str, home: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(
        command, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("run_id", ["plain", "parent", "child", "failing", "offline"])
def test_the_server_is_told_the_same(recorded: Recorded, run_id: str) -> None:
    theirs, ours = recorded.both(run_id)
    assert theirs
    assert ours == theirs


def test_artifacts_are_told_as_they_are_by_wandbs_client(recorded: Recorded) -> None:
    theirs, ours = told_of_artifacts(recorded.theirs), told_of_artifacts(recorded.ours)
    assert len(theirs) == 5
    assert ours == theirs
    kept = recorded.ours.artifacts
    assert sorted(kept.blobs.values()) == [bytes(1000), b"the same"]
    of_data = {key: found for key, found in kept.aliases.items() if key[0][2] == "data"}
    assert {alias: found.version for (_, alias), found in of_data.items()} == {
        "two": 0,
        "best": 2,
        "again": 1,
        "latest": 1,
    }


def test_rows_are_those_that_the_script_logged(recorded: Recorded) -> None:
    ours = recorded.ours
    assert [row["x"] for row in ours.rows("child")] == [0, 1, 2, 3, 100, 101]
    assert [row["x"] for row in ours.rows("parent")] == [0, 1, 200, 300]
    assert [row["_step"] for row in ours.rows("parent")] == [0, 1, 2, 3]
    assert [row["x"] for row in ours.run("parent").cut_off] == [2, 3, 4, 5]
    assert [row["x"] for row in ours.rows("offline")] == [1.5, 2.5]
    assert (ours.run("plain").exit_code, ours.run("failing").exit_code) == (0, 3)


def test_wandbs_own_client_goes_on_with_a_run_that_kelt_has_carried(recorded: Recorded) -> None:
    ours = recorded.ours
    resumed = """
        import wandb
        run = wandb.init(id="offline", project="p", resume="must")
        assert run.config["a"] == 1
        run.log({"x": 3.5})
        run.finish()
    """
    process = _start(resumed, recorded.home, recorded.wandb | {"WANDB_BASE_URL": ours.url})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    assert [(row["_step"], row["x"]) for row in ours.rows("offline")] == [
        (0, 1.5), (1, 2.5), (2, 3.5),
    ]  # fmt: skip


def test_each_request_has_the_key_and_each_run_the_default_entity(recorded: Recorded) -> None:
    assert {key[0] for key in recorded.ours.runs} == {ENTITY}
    asked = [r for r in recorded.ours.requests if r.kind not in PUT]
    assert all(r.headers["authorization"].startswith("Basic ") for r in asked)


def test_what_is_put_where_files_go_has_no_key(recorded: Recorded) -> None:
    put = [r for r in recorded.ours.requests if r.kind in PUT]
    assert not any("authorization" in r.headers for r in put)
