"""A run folder of the real wandb, carried to a W&B server by `kelt sync` and by `wandb sync`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.stack import ServerProcess
from harness.wandb_stub import KEY
from kelt import Api

pytest.importorskip("wandb")

OFFLINE = """
import os, sys, time, wandb
settings = wandb.Settings(x_stats_sampling_interval=0.4, console="wrap")
with wandb.init(project="p", id="r", settings=settings) as run:
    print("one\\n\\nthree")
    for i in range(20):
        print(f"\\r{i} of 20", end="", flush=True)
        run.log({"i": i})
    print("\\nlast", file=sys.stderr)
    run.log({"page": wandb.Html("<p>media</p>")})
    open("weights", "wb").write(bytes(range(256)) * 5000)  # two pieces of ours
    run.save("weights", policy="now")
    table = wandb.Table(columns=["a"], data=[[1]])
    for name in ("first", "second"):  # which refers to the first
        made = wandb.Artifact(name, type="dataset", description="why")
        made.add(table, "table")
        made.add_file("weights")
        run.log_artifact(made, aliases=["best"])
    time.sleep(1)
"""
#: What is made while it is sent: times and the machine are in it.
MADE = {"config.yaml", "wandb-summary.json", "wandb-metadata.json"}


@pytest.fixture
def second(tmp_path):
    process = ServerProcess(tmp_path / "second")
    process.start()
    yield process
    process.stop()


def test_a_folder_by_kelt_is_at_the_server_what_it_is_by_wandb(
    tmp_path, host, server, second, reader
):
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment = kept | {"HOME": str(home), "WANDB_DIR": str(home), "WANDB_API_KEY": KEY}

    def run(*arguments: str, **more: str) -> None:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, env=environment | more, cwd=home, capture_output=True, text=True, timeout=90,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    run("-c", OFFLINE, WANDB_MODE="offline")
    (folder,) = (home / "wandb").glob("offline-run-*")
    upstream = f"wandb+{server.url}"
    out, _ = host.kelt("sync", "--upstream", upstream, folder)
    assert "not carried" not in out
    out, _ = host.kelt("sync", "--upstream", upstream, folder)
    assert "sent 0 records" in out
    run("-m", "wandb", "sync", str(folder), WANDB_BASE_URL=second.url)
    ours, theirs = Api(server.url).run("p/r"), Api(second.url).run("p/r")
    assert (reader.run("r")["state"], len(reader.run("r")["sessions"])) == ("finished", 1)
    assert reader.run("r")["losses"] == []
    assert list(ours.scan_history()) == list(theirs.scan_history())
    lines, wanted = (
        [(x.number, x.content, x.level) for x in r.console_logs()] for r in (ours, theirs)
    )
    assert lines == wanted
    assert [text for _, text, _ in lines][:5] == ["one", "", "three", "19 of 20", ""]
    samples, sent = (r.history(stream="system", pandas=False) for r in (ours, theirs))
    assert len(samples) >= 2
    for found, wanted in zip(samples, sent, strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)
    artifacts = [
        [(a.name, a.type, a.digest, a.aliases, a.description, sorted(f.name for f in a.files()))
         for a in sorted(run.logged_artifacts(), key=lambda a: a.name)]
        for run in (ours, theirs)
    ]  # fmt: skip
    assert artifacts[0] == artifacts[1]
    assert [name for name, *_ in artifacts[0]] == ["first:v0", "second:v0"]
    contents = [
        {found.name: found.download(tmp_path / name).read_bytes() for found in r.files()}
        for name, r in (("ours", ours), ("theirs", theirs))
    ]
    assert contents[0].keys() == contents[1].keys()
    assert [n for n, c in contents[1].items() if contents[0][n] != c and n not in MADE] == []
    assert len(contents[0]["weights"]) == 256 * 5000
    assert any(name.startswith("media/") for name in contents[0])
