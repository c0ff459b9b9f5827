"""Clients of every generation, each in an environment of its own: the same scripts, the same rows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conformance.conftest import Client, Kelt
from conformance.environments import VERSIONS, python_with

from harness.amounts import amount

CASES = Path(__file__).parent / "clients" / "cases.py"
#: Not the oldest, which waits for seconds at each end. 0.31 is driven by all other tests.
USUAL = [version for version in VERSIONS if version == "0.23.1"]
CASES_OF_ALL = ["whole", "resumed", "forked", "allowed", "failed", "auto", "offline"]


def groups(version: str) -> list[list[str]]:
    """The cases by process. The oldest client waits for seconds at each end, so it runs several."""
    if version == "0.16.6":
        return [["whole", "resumed", "forked", "never"], ["allowed", "failed"], ["auto", "offline"]]
    return [[*CASES_OF_ALL, "rewound", "never"]]


def start(client: Client, cases: list[str], folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [client.python, str(CASES), *cases],
        env=client.environment(WANDB_DIR=str(folder), WANDB_SILENT="true", WANDB__DISABLE_STATS="true"),
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def output(process: subprocess.Popen[str]) -> dict[str, str]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, out + err
    said = [line.split(" ", 1) for line in out.splitlines() if " " in line]
    return {words[0]: words[1] for words in said}


@pytest.mark.parametrize("version", VERSIONS if amount(0, long=1) else USUAL)
def test_a_client_of_each_generation(version: str, kelt: Kelt, tmp_path: Path) -> None:
    client = Client(tmp_path / "home", kelt.url, python_with(version))
    running = [start(client, cases, tmp_path / cases[0]) for cases in groups(version)]
    said: dict[str, str] = {}
    for process in running:
        said |= output(process)
    said |= output(start(client, ["read"], tmp_path / "later"))
    check_what_was_logged(kelt, said["auto"])
    check_what_was_read(kelt, json.loads(said["read"]), said["auto"])
    if "rewound" in groups(version)[0]:
        assert kelt.values("rewound", "i") == [(0, 0), (1, 1), (2, 100)]
        assert len(kelt.run("rewound")["archived"]) == 1
    client.home = tmp_path / groups(version)[-1][0]
    check_what_is_synced(client, kelt)


def check_what_was_logged(kelt: Kelt, auto: str) -> None:
    whole, rows = kelt.run("whole"), kelt.rows("whole")
    assert rows[0]["values"] == {
        "loss": 1.5, "a.b": {"$float": "NaN"}, "val/acc": 0.25, "epoch": 1, "l": [1, 2],
        "s": "text", "none": None, "inf": {"$float": "Infinity"}, "yes": True,
    }  # fmt: skip
    rest = [(row["step"], row["values"]) for row in rows[1:]]
    assert rest == [
        (1, {"loss": 0.5}), (2, {"loss": 2.5, "a.b": 1.25}),
        (3, {"loss": 3.5}), (4, {"loss": 4.5}), (5, {"loss": 5.5}),
    ]  # fmt: skip
    assert (whole["state"], whole["name"], whole["group"]) == ("finished", "a name", "g")
    assert (whole["job_type"], whole["archived"], whole["lost_rows"]) == ("train", [], 0)
    assert (whole["summary"]["nested.z"], whole["summary"]["s"]) == (1, "text")
    definitions = {said["name"]: said for said in whole["definitions"]}
    assert definitions["loss"]["summary"] == "min"
    glob = definitions.get("val/*") or definitions["val/acc"]  # 0.16 sends what it matches
    assert glob["step_metric"] == "epoch"
    assert kelt.values("forked", "loss") == [(0, 1.5), (1, 0.5), (2, 9.5)]
    assert kelt.values("allowed", "i") == kelt.values(auto, "i") == [(0, 0), (1, 1)]
    failed = kelt.run("failed")
    assert (failed["state"], failed["reason"], failed["rows"]) == ("failed", "exit code 1", 1)


def check_what_was_read(kelt: Kelt, found: dict[str, Any], auto: str) -> None:
    config = {"lr": 0.1, "n": {"a": [1, 2]}, "t": "x", "late": 5, "more": 2}
    assert (found["config"], found["name"], found["state"]) == (config, "a name", "finished")
    assert (found["tags"], found["best"], found["last"]) == (["a", "b"], 7, 5)
    assert (found["steps"], found["notes"]) == ([0, 1, 2, 3, 4, 5], "a note")
    assert found["loss"] == found["history"] == [1.5, 0.5, 2.5, 3.5, 4.5, 5.5]
    assert {"config.yaml", "wandb-summary.json"} <= set(found["files"])
    assert {"whole", "allowed", "failed", "forked", auto} <= set(found["runs"])
    assert "whole" in found["some"]
    assert "failed" not in found["some"]
    changed = kelt.run("whole")
    assert (changed["config"], changed["notes"]) == ({**config, "lr": 0.7}, "changed")
    assert (changed["summary"]["best"], changed["tags"]) == (1, ["a", "b", "later"])
    assert (changed["state"], changed["rows"]) == ("finished", 6)


def check_what_is_synced(client: Client, kelt: Kelt) -> None:
    folders = client.offline_folders()
    seen = []
    for _ in range(2):
        client.sync(*folders)
        seen.append((kelt.rows("offline"), kelt.run("offline")))
        for mark in (client.home / "wandb").glob("*/*.synced*"):
            mark.unlink()
    rows, run = seen[0]
    assert [(row["step"], row["values"]) for row in rows] == [
        (i, {"i": i, "x": i * 0.5}) for i in range(20)
    ]
    assert (run["state"], run["config"], run["tags"]) == ("finished", {"lr": 0.2}, ["o"])
    assert run["summary"]["best"] == 3
    assert abs(run["created_at"] - rows[0]["timestamp"]) < 5  # not when it was synced
    assert seen[1][0] == rows
    assert {**seen[1][1], "heartbeat_at": 0} == {**run, "heartbeat_at": 0}
