"""`wandb sync` of offline runs: as often as one likes, and interrupted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from conformance.conftest import Client, Kelt, sync_by_kelt

from harness.amounts import long_only

OFFLINE = {"WANDB_MODE": "offline"}

RUN = """
r = wandb.init(id="r1", config={"lr": 0.1}, tags=["t"])
for i in range(50):
    r.log({"i": i, "x": i * 0.5})
r.summary["best"] = 7
r.finish()
"""


def again(client: Client) -> None:
    """Lets `wandb sync` forget that it synced."""
    for mark in (client.home / "wandb").glob("*/*.synced*"):
        mark.unlink()


def test_a_run_is_synced_twice(client: Client, kelt: Kelt) -> None:
    client.run(RUN, **OFFLINE)
    client.sync(*client.offline_folders())
    first = kelt.run("r1")
    assert kelt.values("r1", "i") == [(i, i) for i in range(50)]
    assert (first["state"], first["config"], first["tags"]) == ("finished", {"lr": 0.1}, ["t"])
    assert first["summary"]["best"] == 7
    again(client)
    client.sync(*client.offline_folders())
    second = kelt.run("r1")
    assert kelt.values("r1", "i") == [(i, i) for i in range(50)]
    for key in ("state", "config", "tags", "summary", "archived", "losses", "sessions", "rows"):
        assert second[key] == first[key], key


@long_only
def test_an_online_run_is_synced_too(client: Client, kelt: Kelt) -> None:
    client.run(RUN)
    (folder,) = (client.home / "wandb").glob("run-*")
    client.sync(folder)
    run = kelt.run("r1")
    assert kelt.values("r1", "i") == [(i, i) for i in range(50)]
    assert (len(run["sessions"]), run["archived"], run["state"]) == (1, [], "finished")


@long_only
def test_an_interrupted_sync_is_completed(client: Client, kelt: Kelt, tmp_path: Path) -> None:
    client.run(RUN.replace("range(50)", "range(20_000)"), **OFFLINE)
    (folder,) = client.offline_folders()
    copy = tmp_path / "copy" / folder.name
    shutil.copytree(folder, copy)
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb", "sync", str(folder)],
        env=client.environment(), cwd=client.home,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    kelt.until("r1", 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kelt.kill()
    kelt.start()
    time.sleep(1)
    said = client.sync(copy)
    run = kelt.run("r1")
    found = kelt.values("r1", "i")
    assert found == [(i, i) for i in range(20_000)], (said, run["losses"], run["state"])
    assert (run["state"], run["archived"], run["lost_rows"]) == ("finished", [], 0)


def test_a_live_run_that_was_killed_is_completed_from_its_file(
    client: Client, kelt: Kelt, tmp_path: Path
) -> None:
    process = client.start(
        'r = wandb.init(id="r1")\nfor i in range(300): r.log(dict(i=i)); time.sleep(0.1)'
    )
    kelt.until("r1", 1)
    time.sleep(6)
    process.kill()
    process.communicate()
    before = kelt.run("r1")
    (folder,) = (client.home / "wandb").glob("run-*")
    sync_by_kelt(kelt, tmp_path, folder)
    rows, run = kelt.values("r1", "i"), kelt.run("r1")
    assert len(rows) >= before["rows"]
    assert rows == [(i, i) for i in range(len(rows))]
    assert (run["immutable_id"], run["archived"]) == (before["immutable_id"], [])
    client.sync(folder)
    assert kelt.values("r1", "i") == rows
    assert kelt.run("r1")["archived"] == []


def test_an_offline_fork_before_its_parent(client: Client, kelt: Kelt) -> None:
    client.run(RUN, **OFFLINE)
    (parent,) = client.offline_folders()
    client.run(
        'r = wandb.init(id="f1", fork_from="r1?_step=9"); r.log(dict(i=99)); r.finish()', **OFFLINE
    )
    (fork,) = set(client.offline_folders()) - {parent}
    for _ in range(2):
        client.sync(fork)
        client.sync(parent)
        again(client)
    assert kelt.values("f1", "i") == [*((i, i) for i in range(10)), (10, 99)]
    assert kelt.run("f1")["archived"] == []


@long_only
def test_an_offline_rewind_is_synced_twice(client: Client, kelt: Kelt) -> None:
    client.run(RUN)
    client.run(
        'r = wandb.init(id="r1", resume_from="r1?_step=4"); r.log(dict(i=99)); r.finish()',
        **OFFLINE,
    )
    for _ in range(2):
        client.sync(*client.offline_folders())
        again(client)
    assert kelt.values("r1", "i") == [*((i, i) for i in range(5)), (5, 99)]
    assert len(kelt.run("r1")["archived"]) == 1


@long_only
def test_an_offline_segment_that_resumes_is_synced_twice(client: Client, kelt: Kelt) -> None:
    client.run(RUN)
    client.run('r = wandb.init(id="r1", resume="must"); r.log(dict(i=99)); r.finish()', **OFFLINE)
    for _ in range(2):
        client.sync(*client.offline_folders())
        again(client)
    assert kelt.values("r1", "i") == [*((i, i) for i in range(50)), (50, 99)]
