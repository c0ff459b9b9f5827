"""The same scripts by W&B's own client and by kelt in its place come to the same runs.

`scenarios/` holds the calls that W&B's public documentation shows for runs. Each client runs all
of them in one process, for an entity of its own, on one server.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import httpx
import pytest
from conformance.conftest import Client, Kelt

from harness.stack import Host

_HERE = Path(__file__).parent
#: The first test waits for all scenarios, however slow the machine is.
_PATIENCE_S = 500
pytestmark = pytest.mark.timeout(_PATIENCE_S + 60)
SCENARIOS = sorted((_HERE / "scenarios").glob("*.py"))
PROJECTS = (
    "artifacts", "axes", "basics", "configuration", "describing", "endings", "forking", "output",
    "reading", "resuming", "rewinding", "several", "steps", "summaries", "tables", "values",
)  # fmt: skip
#: What people see of a run that does not depend on which client, host or moment it was.
_FACTS = (
    "notes", "group", "job_type", "tags", "state", "rows", "last_step", "kind", "config",
)  # fmt: skip
_ARTIFACT = (
    "name", "version", "type", "aliases", "tags", "digest", "description", "metadata",
    "size_bytes", "file_count",
)  # fmt: skip
#: What wandb's client sends beside rows is not compared, and a third of its time.
_WITHOUT_FILES = {
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
}
_MEASURED = {"project": "output", "run_id": "console"}
#: wandb's client writes its own rendering of a defined summary beside kelt's value.
_WANDBS_SUMMARY = ("loss.min", "acc.max")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Reads from a server on which both clients have run all scenarios, side by side."""
    server = Kelt(tmp_path_factory.mktemp("server"))
    server.start()
    home = tmp_path_factory.mktemp("kelt")
    processes = [
        _started(server, tmp_path_factory.mktemp("wandb"), []),
        _started(server, home, ["-m", "kelt.as_wandb"]),
    ]
    try:
        for process, said in processes:
            assert process.wait(_PATIENCE_S) == 0, said.read_text()
        with httpx.Client(base_url=f"{server.url}/api/v1", trust_env=False) as answering:
            yield answering
    finally:
        for process, _ in processes:
            process.kill()
            process.wait()
        Host(home / "state", server.url).stop_daemon()
        server.stop()


def _started(server: Kelt, home: Path, how: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
    client = Client(home, server.url)
    environment = client.environment(
        WANDB_ENTITY=home.name.rstrip("0123456789"),
        WANDB_SILENT="true",
        **_WITHOUT_FILES,
        KELT_UPSTREAM=server.url,
        KELT_DIR=str(home / "state"),
    )
    del environment["WANDB_PROJECT"]
    said = home / "said.txt"
    with said.open("wb") as output:
        command = [sys.executable, *how, str(_HERE / "scenario_runner.py"), *map(str, SCENARIOS)]
        process = subprocess.Popen(
            command, env=environment, cwd=home, stdout=output, stderr=subprocess.STDOUT
        )
    return process, said


def _runs(answers: httpx.Client, entity: str, project: str) -> dict[str, dict[str, Any]]:
    found = answers.get("/runs", params={"entity": entity, "project": project}).json()["runs"]
    return {run["run_id"]: run for run in found}


@pytest.mark.parametrize("project", PROJECTS)
def test_both_clients_come_to_the_same_runs(answers: httpx.Client, project: str) -> None:
    by_wandb, by_kelt = (_runs(answers, entity, project) for entity in ("wandb", "kelt"))
    assert set(by_kelt) == set(by_wandb)
    for run_id in by_wandb:
        described = [_description(answers, runs[run_id]) for runs in (by_kelt, by_wandb)]
        assert described[0] == described[1], run_id


def test_both_clients_measure_the_same_of_the_machine(answers: httpx.Client) -> None:
    by_wandb, by_kelt = (
        {
            name
            for row in _rows(answers, {"entity": entity, **_MEASURED}, stream="system")
            for name in row[1]
        }
        for entity in ("wandb", "kelt")
    )
    assert by_wandb - by_kelt <= {"system.network.tcpRetransmits"}
    assert not by_kelt - by_wandb
    assert "system.cpu" in by_kelt


@pytest.mark.parametrize("entity", ["wandb", "kelt"])
def test_no_run_of_any_scenario_is_left_uncompared(answers: httpx.Client, entity: str) -> None:
    found = answers.get("/projects").json()["projects"]
    assert {p["project"] for p in found if p["entity"] == entity} == set(PROJECTS)


def _description(answers: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    globs = [said["name"] for said in run["definitions"] if "*" in said["name"]]
    definitions = [
        (
            said["name"], said["step_metric"], said["summary"] or "last",
            said["goal"] or "minimize", said["hidden"],
        )
        for said in sorted(run["definitions"], key=lambda said: str(said["name"]))
        if said["name"] in globs or not any(fnmatchcase(said["name"], glob) for glob in globs)
    ]  # fmt: skip # wandb's client spells out, beside a glob, what it has matched
    return {
        **{fact: run[fact] for fact in _FACTS},
        "summary": {
            key: _shown(value)
            for key, value in run["summary"].items()
            if key not in {*_WANDBS_SUMMARY, "_timestamp", "_runtime"}
        },
        "definitions": definitions,
        "came from": [(line["run_id"], line["fork_step"], line["kind"]) for line in run["lineage"]],
        "archived": len(run["archived"]),
        "losses": run["losses"],
        "history": _rows(answers, run),
        "console": _console(answers, run),
        "artifacts": _artifacts(answers, run),
    }


def _artifacts(answers: httpx.Client, run: dict[str, Any]) -> dict[str, list[list[Any]]]:
    path = f"/runs/{run['entity']}/{run['project']}/{run['run_id']}/artifacts"
    return {
        how: sorted([item[fact] for fact in _ARTIFACT] for item in found)
        for how, found in answers.get(path).json().items()
    }


def _rows(
    answers: httpx.Client, run: dict[str, Any], **asked: str
) -> list[tuple[int, dict[str, Any]]]:
    path = f"/runs/{run['entity']}/{run['project']}/{run['run_id']}/history"
    rows = answers.get(path, params={"limit": 5000, **asked}).json()["rows"]
    return [(row["step"], {k: _shown(v) for k, v in row["values"].items()}) for row in rows]


def _shown(value: Any) -> Any:
    """A table stands in the row with kelt, and in a file with wandb; in an artifact with both."""
    if isinstance(value, dict) and value.get("_type") in {"table", "table-file"}:
        return {"a table of": value["nrows"]}
    return value


def _console(answers: httpx.Client, run: dict[str, Any]) -> list[tuple[int, str, str]]:
    path = f"/runs/{run['entity']}/{run['project']}/{run['run_id']}/console"
    lines = answers.get(path).json()["lines"]
    return [(line["number"], line["stream"], line["text"]) for line in lines]
