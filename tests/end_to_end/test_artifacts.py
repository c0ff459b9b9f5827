"""Artifacts through everything that may break: real processes, and wandb's own client reading."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import pytest

from harness.stack import Host, Reader, ServerProcess, eventually
from kelt.api_client import Api
from kelt.artifacts.logged import artifact_folders, read_end

#: Logs a run with an artifact, and dies of it.
KILLED = """
    import os, signal, sys, kelt
    from pathlib import Path
    run = kelt.init("p", id=sys.argv[1], entity="me")
    run.log({"x": 1})
    made = Path(sys.argv[2])
    made.mkdir()
    (made / "big.bin").write_bytes(bytes(range(256)) * 160_000)
    (made / "small.txt").write_text("as it was")
    artifact = kelt.Artifact("data", "dataset", metadata={"rows": 3})
    artifact.add_dir(made)
    run.log_artifact(artifact, aliases=["best"])
    (made / "small.txt").write_text("changed afterwards")
    run.log({"x": 2})
    os.kill(os.getpid(), signal.SIGKILL)
"""
#: What wandb's client reads of it. (That equal contents are one version: `conformance/scenarios`.)
WANDB = """
    import json, os, sys, wandb
    found = wandb.Api().artifact("me/p/data:best")
    root = found.download(root=sys.argv[1])
    small = open(os.path.join(root, "small.txt")).read()
    found.verify(root)
    print(json.dumps([found.version, found.aliases, found.type, found.logged_by().id, small]))
"""
#: Uses it, logs the same contents once more, changes what is said of it, and goes on from it.
USES = """
    import json, sys, kelt
    with kelt.init("p", id="user", entity="me") as run:
        found = run.use_artifact("data:v0", type="dataset")
        again = kelt.Artifact("data", "dataset")
        again.add_dir(found.download(sys.argv[1]))
        run.log_artifact(again, aliases=["again"]).wait(60)
        try:
            run.use_artifact("nowhere:v7")
        except kelt.KeltError as error:
            refusal = str(error)
    said = [again.version, again.aliases, refusal]
    again.description, again.metadata["more"], again.aliases = "why", 1, ["best", "latest"]
    again.save()
    drafts = [found.new_draft() for _ in range(3)]
    for draft, (id, more) in zip(drafts, (
        ("goes-on", {"entity": "me"}), ("later", {"entity": "me", "mode": "offline"}),
        ("elsewhere", {"entity": "you"}),
    )):
        draft.add(kelt.Table(["x"], [[id]]), "table")
        if id != "goes-on":
            draft.remove("big.bin")
        with kelt.init("p", id=id, **more) as run:
            run.log_artifact(draft)
            if run.mode == "online":
                draft.wait(30)
            said.append([path.name for path in run.dir.glob("artifacts/*/files/*")])
    print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def host(tmp_path_factory, server):
    host = Host(tmp_path_factory.mktemp("host"), server.url)
    yield host
    host.close()


def test_an_artifact_survives_trainer_and_daemon_and_is_one_version_for_everybody(
    server, host, tmp_path
):
    made = tmp_path / "data"
    trainer = host.start(KILLED, "killed", made)
    incoming = server.folder / "artifacts" / "incoming"
    eventually(lambda: any(incoming.glob("*")) or None, pause_s=0.001)
    server.process.send_signal(signal.SIGSTOP)  # away, in the middle of the upload
    try:
        assert trainer.wait(60) == -signal.SIGKILL
        host.stop_daemon(signal.SIGKILL)
    finally:
        server.process.send_signal(signal.SIGCONT)
    (folder,) = (host.state_dir / "runs").glob("*-killed-*")
    (artifact,) = artifact_folders(folder)
    assert read_end(folder, artifact) is None
    out, _ = host.kelt("sync")
    assert "with 1 artifact" in out
    assert read_end(folder, artifact).version == "v0"
    assert not (artifact / "files").exists()  # its room is free again
    with Api(server.url) as api:
        run = api.run("me/p/killed")
        (logged,) = run.logged_artifacts()
        assert (logged.name, logged.aliases) == ("data:v0", ["best", "latest"])
        assert logged.metadata == {"rows": 3}
        assert run.state == "crashed"
        assert [row["x"] for row in run.scan_history()] == [1, 2]
        assert not list(run.losses)
    environment = host.environment | {
        "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40, "WANDB_SILENT": "true",
        "WANDB_DIR": str(tmp_path), "WANDB_CACHE_DIR": str(tmp_path), "WANDB_DATA_DIR": str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, "-c", textwrap.dedent(WANDB), tmp_path / "read"]
    out = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=90, check=True
    ).stdout
    assert json.loads(out.splitlines()[-1]) == [
        "v0", ["best", "latest"], "dataset", "killed", "as it was",
    ]  # fmt: skip
    out, _ = host.run(USES, tmp_path / "used")
    version, aliases, refusal, *contents = json.loads(out)
    assert (version, aliases) == ("v0", ["again", "best", "latest"])
    assert len(contents[1]) == 3  # of the offline run all of it is here
    with Api(server.url) as api:
        changed = api.artifact("me/p/data:best")
        assert (changed.description, changed.metadata) == ("why", {"rows": 3, "more": 1})
        assert [version.aliases for version in api.artifacts("dataset", "me/p/data")] == [
            ["latest"], ["best"],
        ]  # fmt: skip
        assert "big.bin" in {file.path for file in api.artifact("me/p/data:v1").files()}
        there = api.artifact("you/p/data:v0")
        there.verify(there.download(tmp_path / "elsewhere"))
    assert "no artifact 'me/p/nowhere:v7'" in refusal
    assert not list((host.state_dir / "staging").iterdir())  # of the killed one neither
    used = Reader(server.url).get("/runs/me/p/user/artifacts")["used"]
    assert [item["name"] for item in used] == ["data"]


def test_artifacts_of_an_offline_run_go_with_its_sync_and_one_refused_for_good_is_a_loss(
    server, host, tmp_path
):
    (tmp_path / "model.bin").write_text("weights")
    out, _ = host.run(
        """
        import os, sys, kelt
        run = kelt.init("p", id="offline", entity="me", mode="offline")
        run.log_artifact(sys.argv[1], name="taken", type="dataset")
        run.log_artifact(sys.argv[1], name="taken", type="model")
        artifact = run.log_model(sys.argv[1], name="model", aliases=["first"])
        for call in (artifact.wait, lambda: run.use_artifact("data:v0")):
            try:
                call()
            except kelt.UsageError as error:
                print(error)
        pid = os.fork()
        if not pid:
            run.log_artifact(sys.argv[1], name="of-the-child", type="model")
            os._exit(0)
        os.waitpid(pid, 0)
        run.finish()
        """,
        tmp_path / "model.bin",
    )
    assert out.count("offline") == 2
    host.kelt("sync")
    logged = Reader(server.url).get("/runs/me/p/offline/artifacts")["logged"]
    found = [(item["name"], item["version"], item["aliases"]) for item in logged]
    assert sorted(found) == [
        ("model", "v0", ["first", "latest"]),
        ("of-the-child", "v0", ["latest"]),
        ("taken", "v0", ["latest"]),
    ]
    with Api(server.url) as api:
        (loss,) = api.run("me/p/offline").losses
    assert "the artifact 'taken' was not delivered" in loss.reason
    assert "is there already with the type 'dataset'" in loss.reason
