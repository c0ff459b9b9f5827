"""Artifacts through everything that may break: real processes, and wandb's own client reading."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

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
    (made / "big.bin").write_bytes(bytes(range(256)) * 400_000)
    (made / "small.txt").write_text("as it was")
    artifact = kelt.Artifact("data", "dataset", metadata={"rows": 3})
    artifact.add_dir(made)
    run.log_artifact(artifact, aliases=["best"])
    (made / "small.txt").write_text("changed afterwards")
    run.log({"x": 2})
    os.kill(os.getpid(), signal.SIGKILL)
"""
#: What wandb's client reads of it, and the same contents logged again by it.
WANDB = """
    import json, os, sys, wandb
    found = wandb.Api().artifact("me/p/data:best")
    root = found.download(root=sys.argv[1])
    said = {
        "about": [found.version, found.aliases, dict(found.metadata), found.type],
        "logged_by": found.logged_by().id,
        "small": open(os.path.join(root, "small.txt")).read(),
    }
    run = wandb.init(entity="me", project="p", id="by-wandb")
    again = wandb.Artifact("data", type="dataset")
    again.add_dir(sys.argv[1])
    run.log_artifact(again).wait()
    fresh = wandb.Artifact("other", type="dataset")
    fresh.add_file(os.path.join(root, "small.txt"))
    run.log_artifact(fresh).wait()
    run.finish()
    said["again"] = [again.version, again.digest == found.digest]
    print(json.dumps(said))
"""
#: Uses what wandb's client logged, and logs the same contents once more.
USES = """
    import json, sys, kelt
    with kelt.init("p", id="user", entity="me") as run:
        found = run.use_artifact("other:v0", type="dataset")
        root = found.download(sys.argv[1])
        again = kelt.Artifact("other", "dataset")
        again.add_dir(root)
        again = run.log_artifact(again, aliases=["again"]).wait(30)
        try:
            run.use_artifact("nowhere:v7")
        except kelt.KeltError as error:
            refusal = str(error)
    print(json.dumps([again.version, again.aliases, again.digest == found.digest, refusal]))
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


@pytest.fixture(scope="module")
def killed(server, host, tmp_path_factory):
    """A run whose server froze in the middle of the upload, and that was killed with its daemon."""
    made = tmp_path_factory.mktemp("made") / "data"
    trainer = host.start(KILLED, "killed", made)
    incoming = server.folder / "artifacts" / "incoming"
    eventually(
        lambda: True if incoming.is_dir() and any(incoming.iterdir()) else None, pause_s=0.001
    )
    server.process.send_signal(signal.SIGSTOP)
    try:
        assert trainer.wait(30) == -signal.SIGKILL
        host.stop_daemon(signal.SIGKILL)
    finally:
        server.process.send_signal(signal.SIGCONT)
    (folder,) = (host.state_dir / "runs").iterdir()
    (artifact,) = artifact_folders(folder)
    assert read_end(folder, artifact) is None
    host.kelt("sync")
    return folder, artifact


def test_an_artifact_survives_trainer_and_daemon_and_becomes_one_version(killed, server):
    folder, artifact = killed
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


def test_wandbs_client_and_kelts_see_each_others_versions(killed, server, host, tmp_path):
    environment = host.environment | {
        "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40, "WANDB_SILENT": "true",
        "WANDB_DIR": str(tmp_path), "WANDB_CACHE_DIR": str(tmp_path), "WANDB_DATA_DIR": str(tmp_path),
    }  # fmt: skip
    out = subprocess.run(
        [sys.executable, "-c", "\n".join(line[4:] for line in WANDB.splitlines()), tmp_path / "data"],
        env=environment, capture_output=True, text=True, timeout=90, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert json.loads(out.splitlines()[-1]) == {
        "about": ["v0", ["best", "latest"], {"rows": 3}, "dataset"],
        "logged_by": "killed",
        "small": "as it was",
        "again": ["v0", True],
    }
    out, _ = host.run(USES, tmp_path / "used")
    version, aliases, is_same, refusal = json.loads(out)
    assert (version, aliases, is_same) == ("v0", ["again", "latest"], True)
    assert "no artifact 'me/p/nowhere:v7'" in refusal
    assert not list((host.state_dir / "staging").iterdir())  # of the killed one neither
    used = Reader(server.url).get("/runs/me/p/user/artifacts")["used"]
    assert [item["name"] for item in used] == ["other"]


def test_artifacts_of_an_offline_run_go_with_its_sync(server, host, tmp_path):
    (tmp_path / "model.bin").write_text("weights")
    out, _ = host.run(
        """
        import os, sys, kelt
        run = kelt.init("p", id="offline", entity="me", mode="offline")
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
    ]


def test_what_is_refused_for_good_is_a_loss_of_the_run_and_holds_up_nothing(server, host, tmp_path):
    (tmp_path / "file").write_text("content")
    out, _ = host.run(
        """
        import sys, kelt
        run = kelt.init("p", id="refused", entity="me")
        wrong = run.log_artifact(sys.argv[1], name="data", type="model")
        right = run.log_artifact(sys.argv[1], name="right", type="model")
        print(right.wait(30).version)
        try:
            wrong.wait(30)
        except kelt.KeltError as error:
            print(error)
        run.finish()
        """,
        tmp_path / "file",
    )
    assert "v0" in out
    assert "is there already with the type 'dataset'" in out
    with Api(server.url) as api:
        (loss,) = eventually(lambda: list(api.run("me/p/refused").losses) or None)
    assert "the artifact 'data' was not delivered" in loss.reason
