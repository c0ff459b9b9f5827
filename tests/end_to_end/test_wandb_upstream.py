"""kelt with a W&B upstream, whole: daemons and servers are killed, keys refused, parents late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.amounts import long_only
from harness.quick_daemon import QuickDaemon
from harness.stack import Host, Reader, ServerProcess, eventually
from harness.wandb_stub import KEY, WandbStub
from kelt.api_client import Api

ROWS = 100
#: In mid-run until its standard input has a line or ends.
TRAINER = """
    import sys, time, kelt
    run = kelt.init(sys.argv[1], id="r", name="n", config={"lr": 0.1})
    run.define_metric("low", summary="min")
    def artifact(text):
        made = kelt.Artifact("data", "dataset", metadata={"k": [1]})
        with made.new_file("d/text") as file:
            file.write(text)
        with made.new_file("large", "wb") as file:
            file.write(bytes(3_000_000))
        return made
    for text in ("one", "two"):
        run.log_artifact(artifact(text), aliases=[text])
    for i in range(100):
        run.log({"i": i, "x": i * 0.5, "low": 100.0 - i, "s": f"é{i}", "none": None,
                 "nan": float("nan") if i % 2 else 1.5, "l": [i, 2.5]})
        time.sleep(0.01)
        if i == 49:
            sys.stdin.readline()
    run.summary["best"] = 9
    again = run.log_artifact(artifact("one"), aliases=["again"]).wait(60)
    assert again.version == "v0", again.version
    run.finish()
"""
#: What wandb's client reads of the artifact in both projects.
READ = """
    import json, os, sys, wandb
    said = []
    for project in ("door", "own"):
        of_run = wandb.Api().run(f"local/{project}/r").logged_artifacts()
        versions = {found.version: sorted(found.aliases) for found in of_run}
        found = wandb.Api().artifact(f"local/{project}/data:two")
        root = found.download(root=os.path.join(sys.argv[1], project))
        found.verify(root)
        files = sorted(os.path.relpath(os.path.join(at, name), root)
                       for at, _, names in os.walk(root) for name in names)
        said.append([versions, found.digest, found.type, found.metadata, found.size, files,
                     found.logged_by().id])
    print(json.dumps(said))
"""
SHORT = """
    import sys, time, kelt
    settings = {"stats_sampling_interval_s": 0.1}
    with kelt.init("p", id=sys.argv[1], config={"lr": 0.1}, settings=settings) as run:
        for i in range(5):
            run.log({"i": i})
        print("10 %\\r20 %\\nthe end", end="")
        sampling = run._session.output._sampling
        while sampling._metrics is None or sampling._is_under_way:
            time.sleep(0.01)
"""
BRANCHES = """
    import sys, kelt
    run = kelt.init(sys.argv[1], id="r", name="n", config={"lr": 0.1})
    run.define_metric("val", step_metric="x", summary="min")
    for i in range(6):
        run.log({"x": i, "a": {"b": i * 0.5}, "val": 10.0 - i})
    fork = run.fork(3, id="mid", config={"z": 1})
    fork.log({"x": 100})
    fork.finish()
    run.rewind(2)
    run.log({"x": 200})
    run.log({"y": 1}, commit=False)
    run.log({"z": 2})
    run.finish()
    with kelt.init(sys.argv[1], id="late", fork_from="r?_step=3", config={"lr": 0.2}) as fork:
        fork.log({"x": 10})
    with kelt.init(sys.argv[1], id="r", resume="must") as run:
        run.log({"x": 30})
    run = kelt.init(sys.argv[1], id="r", resume_from="r?_step=1")
    run.log({"x": 40})
    run.finish(exit_code=3)
"""
CHILD = """
    import kelt
    with kelt.init("p", id="child", fork_from="parent?_step=2", mode="offline") as run:
        run.log({"i": 100})
"""
FAMILIES = """
    import kelt
    for n in range(6):
        run = kelt.init("p", id=f"root{n}")
        for i in range(30 + n):
            run.log({"x": 1000 * n + i})
        if n % 2:
            with run.fork(5 * n, id=f"mid{n}") as fork:
                fork.log({"x": -n})
            run.rewind(4 * n)
            run.log({"x": 7000 + n})
        run.finish()
    for n in range(6):
        with kelt.init("p", id=f"late{n}", fork_from=f"root{n}?_step=2") as fork:
            fork.log({"x": 10 * n})
    for n in range(3):
        with kelt.init("p", id=f"deep{n}", fork_from=f"late{n}?_step=3") as fork:
            fork.log({"x": n})
    for n in (1, 2):
        with kelt.init("p", id=f"root{n}", resume="must") as run:
            run.log({"x": 5555})
    with kelt.init("p", id="root3", resume_from="root3?_step=1") as run:
        run.log({"x": 6666})
"""


@pytest.fixture
def stub() -> Iterator[WandbStub]:
    with WandbStub() as server:
        yield server


@pytest.fixture
def wandb_host(tmp_path, stub: WandbStub) -> Iterator[Host]:
    host = Host(tmp_path / "wandb-state", f"wandb+{stub.url}")
    yield host
    host.close()


@pytest.fixture
def quick(wandb_host: Host) -> Iterator[QuickDaemon]:
    environ = wandb_host.environment | {"WANDB_API_KEY": KEY}
    daemon = QuickDaemon(
        wandb_host.state_dir, environ=environ, wandb_post_interval_s=0.1, refused_retry_s=0.5
    )
    yield daemon.start()
    daemon.stop()


def test_rows_by_wandbs_door_are_those_by_kelts_own_though_daemon_and_server_are_killed(
    tmp_path, server: ServerProcess, host: Host, reader: Reader
):
    over_wandb = Host(tmp_path / "over-wandb", f"wandb+{server.url}")
    quick = QuickDaemon(
        over_wandb.state_dir, environ=over_wandb.environment, wandb_post_interval_s=0.1
    )
    quick.start()
    trainer = over_wandb.start(TRAINER, "door", WANDB_API_KEY=KEY)
    eventually(lambda: True if len(reader.history("r", "door")) > 20 else None)
    quick.process.kill()  # the trainer starts another
    quick.process.wait()
    server.stop(signal.SIGKILL)
    server.start()
    host.run(TRAINER, "own")
    eventually(lambda: True if over_wandb.daemon_alive() else None)
    # A run that ends while its upstream is away is not waited for.
    eventually(lambda: True if upstream_states(over_wandb) == ["reachable"] else None)
    out, err = trainer.communicate(timeout=60)
    assert trainer.returncode == 0, out + err
    assert "synced=yes" in err
    ours, own = reader.history("r", "door"), reader.history("r", "own")
    assert [row["i"] for row in ours] == list(range(ROWS))
    assert repr(ours) == repr(own)
    run, native = reader.run("r", "door"), reader.run("r", "own")
    assert (run["state"], run["config"], run["rows"]) == ("finished", {"lr": 0.1}, ROWS)
    assert not run["archived"]
    assert not run["problems"]
    names = ("i", "x", "low", "s", "l", "best")
    assert [run["summary"][n] for n in names] == [native["summary"][n] for n in names]
    out, _ = host.run(READ, tmp_path, HOME=str(tmp_path), WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY,
                      WANDB_SILENT="true")  # fmt: skip
    by_door, by_own = json.loads(out)
    assert by_door == by_own
    assert by_door[0] == {"v0": ["again", "latest", "one"], "v1": ["two"]}
    over_wandb.close()


def upstream_states(host: Host) -> list[str]:
    status = json.loads(host.kelt("status", "--json")[0])
    return [upstream["state"] for upstream in status["upstreams"]]


def test_a_run_that_is_stopped_at_the_server_is_interrupted(tmp_path, server, reader: Reader):
    over_wandb = Host(tmp_path / "over-wandb", f"wandb+{server.url}")
    environ = over_wandb.environment
    quick = QuickDaemon(over_wandb.state_dir, environ=environ, wandb_post_interval_s=0.1).start()
    trainer = over_wandb.start(TRAINER, "p", WANDB_API_KEY=KEY)
    eventually(lambda: reader.history("r", "p") or None)
    with Api(server.url) as api:
        api.run("p/r").stop()
        trainer.wait(60)
        _, err = trainer.communicate()
        assert "stopped at the server" in err
        assert "KeyboardInterrupt" in err
        eventually(lambda: True if api.run("p/r").state == "killed" else None)
    over_wandb.close()
    quick.stop()


def test_branches_by_wandbs_door_are_those_by_kelts_own(
    tmp_path, server: ServerProcess, host: Host, reader: Reader
):
    over_wandb = Host(tmp_path / "over-wandb", f"wandb+{server.url}")
    for where, project in ((over_wandb, "door"), (host, "own")):
        where.run(BRANCHES, project, WANDB_API_KEY=KEY)
    over_wandb.close()
    expected = {"r": [0, 1, 40], "mid": [0, 1, 2, 3, 100], "late": [0, 1, 2, 200, 10]}
    for run_id, xs in expected.items():
        ours = reader.history(run_id, "door")
        assert [row["x"] for row in ours] == xs
        assert repr(ours) == repr(reader.history(run_id, "own"))
        run, own = reader.run(run_id, "door"), reader.run(run_id, "own")
        assert (run["state"], run["config"]) == (own["state"], own["config"])
        values = [{k: v for k, v in r["summary"].items() if k[0] != "_"} for r in (run, own)]
        assert values[0] == values[1]
        assert len(run["archived"]) == len(own["archived"])
    assert reader.run("r", "door")["state"] == "failed"


def test_a_refused_key_shows_and_loses_nothing(wandb_host: Host, stub: WandbStub, quick):
    stub.key = "another" * 6
    wandb_host.run(SHORT, "r", WANDB_API_KEY=KEY, KELT_FINISH_TIMEOUT_S="0.5")
    assert eventually(lambda: upstream_states(wandb_host) == ["refused"])
    status = json.loads(wandb_host.kelt("status", "--json")[0])
    assert "WANDB_API_KEY" in status["upstreams"][0]["reason"]
    _, _err = wandb_host.kelt("sync", "-y", code=1)
    assert not stub.runs
    stub.key = KEY  # mended there: nobody need do anything here
    eventually(lambda: True if ("someone", "p", "r") in stub.runs else None)
    eventually(lambda: True if stub.run("r").exit_code == 0 else None)
    assert [row["i"] for row in stub.rows("r")] == list(range(5))


def test_a_run_that_is_refused_alone_holds_up_no_other(wandb_host: Host, stub: WandbStub, quick):
    stub.fault = lambda r: 403 if (r.kind, r.run_id) == ("upsertBucket", "bad") else None
    wandb_host.run(SHORT, "bad", WANDB_API_KEY=KEY, KELT_FINISH_TIMEOUT_S="0.2")
    wandb_host.run(SHORT, "good", WANDB_API_KEY=KEY)
    assert stub.run("good").exit_code == 0

    def refused():
        runs = json.loads(wandb_host.kelt("status", "--json")[0])["runs"]
        return {run["run_id"] for run in runs if "may not write there" in run["problem"]} or None

    assert eventually(refused) == {"bad"}  # not while it is tried again
    stub.fault = None
    eventually(lambda: True if ("someone", "p", "bad") in stub.runs else None)


def test_a_killed_daemon_is_followed_by_one_that_doubles_nothing(
    wandb_host: Host, stub: WandbStub, quick: QuickDaemon
):
    killed = []

    def kill_after_taking(request):
        """The first one in mid-run, and each that follows it with its first post."""
        pid = wandb_host.daemon_alive()
        is_due = len(killed) < 3 and pid and pid not in killed
        if request.kind == "file_stream" and is_due:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            return "lose"
        return None

    trainer = wandb_host.start(TRAINER, "p", WANDB_API_KEY=KEY)
    eventually(lambda: True if ("someone", "p", "r") in stub.runs and stub.rows("r") else None)
    stub.fault = kill_after_taking
    out, err = trainer.communicate(timeout=60)
    assert trainer.returncode == 0, out + err
    assert "synced=yes" in err
    assert len(killed) == 3
    environ = Path(f"/proc/{wandb_host.daemon_alive()}/environ").read_bytes()
    assert KEY.encode() not in environ
    assert [row["i"] for row in stub.rows("r")] == list(range(ROWS))
    assert (stub.run("r").exit_code, stub.run("r").summary["low"]) == (0, {"min": 1.0})


def test_a_killed_trainer_fails_its_run(wandb_host: Host, stub: WandbStub, quick):
    wandb_host.run(
        """
        import os, kelt
        run = kelt.init("p", id="r")
        for i in range(5):
            run.log({"i": i})
        os.kill(os.getpid(), 9)
        """,
        code=-9,
        WANDB_API_KEY=KEY,
    )
    eventually(lambda: True if ("someone", "p", "r") in stub.runs else None)
    eventually(lambda: stub.run("r").exit_code)
    assert stub.run("r").exit_code in {137, 1}  # 1 where the kernel does not tell the signal
    assert [row["i"] for row in stub.rows("r")] == list(range(5))


def test_offline_runs_are_sent_there_on_demand_parents_first(
    wandb_host: Host, stub: WandbStub, quick
):
    wandb_host.run(SHORT, "parent", KELT_MODE="offline", KELT_UPSTREAM="http://127.0.0.1:1")
    wandb_host.run(CHILD, KELT_UPSTREAM="http://127.0.0.1:1")
    out, _ = wandb_host.kelt("sync", "-y", "--upstream", f"wandb+{stub.url}/")
    assert "Synced 2 runs" in out
    assert [row["i"] for row in stub.rows("child")] == [0, 1, 2, 100]
    parent = stub.run("parent")
    assert [line.split(" ", 1)[1] for line in parent.console] == ["20 %", "the end"]
    assert "system.cpu" in parent.events[0]
    assert stub.run("child").console == []


@long_only
def test_many_runs_that_follow_on_each_other_are_synced_though_the_daemon_is_killed(
    server: ServerProcess, host: Host, reader: Reader, wandb_host: Host, stub: WandbStub
):
    for where in (host, wandb_host):
        where.run(FAMILIES, KELT_MODE="offline", KELT_UPSTREAM="http://127.0.0.1:1")
    host.kelt("sync", "-y", "--upstream", server.url)
    killed = []

    def kill_or_fail(_request):
        """Each daemon but the last at its thirtieth request; each seventh is not answered well."""
        count = len(stub.requests)
        pid = wandb_host.daemon_alive()
        if count % 30 == 0 and pid and len(killed) < 6:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            return "lose"
        return (503, "lose", "cut", 404)[count % 4] if count % 7 == 0 else None

    stub.fault = kill_or_fail
    environment = wandb_host.environment | {"WANDB_API_KEY": KEY}
    command = [
        sys.executable, "-m", "kelt.cli.main", "sync", "-y", "--upstream", f"wandb+{stub.url}",
    ]  # fmt: skip
    for _ in range(10):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(killed) == 6
    for kind, count in (("root", 6), ("late", 6), ("deep", 3)):
        for run_id in [f"{kind}{n}" for n in range(count)]:
            wanted = [(row["step"], row["x"]) for row in reader.history(run_id)]
            assert [(row["_step"], row["x"]) for row in stub.rows(run_id)] == wanted, run_id
            assert stub.run(run_id).exit_code == 0
    assert not list(wandb_host.state_dir.rglob("*.part"))


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ("wandb+ftp://api.wandb.ai", "wandb+https://api.wandb.ai"),
        ("wandb://api.wandb.ai", "wandb+https://api.wandb.ai"),
        ("https://api.wandb.ai", "wandb+https://api.wandb.ai"),
        ("wandb+https://", "wandb+https://api.wandb.ai"),
        ("wandb+https://user:key@api.wandb.ai", "KELT_API_KEY"),
    ],
)
def test_an_address_of_another_form_is_refused_with_the_right_one(upstream, said):
    from kelt.errors import SettingsError
    from kelt.settings import load_settings

    with pytest.raises(SettingsError, match=said.replace("+", r"\+")):
        load_settings({}, {"KELT_UPSTREAM": upstream, "KELT_CONFIG": os.devnull})


def test_reading_from_a_wandb_server_is_refused_by_name():
    import kelt

    with pytest.raises(kelt.UsageError, match=r"wandb\.Api"):
        kelt.Api("wandb+https://api.wandb.ai", "k" * 40)
