"""An unmodified wandb client logs to a kelt server."""

from __future__ import annotations

import math
import signal
import time
from typing import Any

from conformance.conftest import Client, Kelt

from harness.amounts import long_only


def test_a_run_arrives_whole(client: Client, kelt: Kelt) -> None:
    client.run(
        """
        r = wandb.init(id="r1", name="a name", notes="a note", tags=["a", "b"], group="g",
                       job_type="train", config={"lr": 0.1, "n": {"a": [1, 2]}, "t": "x"})
        r.define_metric("loss", summary="min")
        r.define_metric("val/*", step_metric="epoch")
        r.log({"loss": 1.5, "a": {"b": float("nan")}, "val/acc": 0.2, "epoch": 1, "l": [1, 2],
               "s": "text", "none": None, "big": 10**20, "inf": float("inf"), "yes": True})
        r.log({"loss": 0.5})
        r.log({"loss": 2.5, "a": {"b": 1.25}})
        r.config.update({"late": 5})
        r.summary["best"] = 7
        r.summary["nested"] = {"z": 1}
        r.finish()
        """
    )
    run = kelt.run("r1")
    assert run["state"] == "finished"
    assert (run["name"], run["notes"], run["group"]) == ("a name", "a note", "g")
    assert (run["job_type"], run["tags"]) == ("train", ["a", "b"])
    assert run["config"] == {"lr": 0.1, "n": {"a": [1, 2]}, "t": "x", "late": 5}
    rows = kelt.rows("r1")
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert rows[0]["values"] == {
        "loss": 1.5, "a.b": {"$float": "NaN"}, "val/acc": 0.2, "epoch": 1, "l": [1, 2],
        "s": "text", "none": None, "big": 10**20, "inf": {"$float": "Infinity"}, "yes": True,
    }  # fmt: skip
    assert rows[1]["values"] == {"loss": 0.5}
    assert rows[2]["values"] == {"loss": 2.5, "a.b": 1.25}
    summary = run["summary"]
    assert (summary["loss"], summary["a.b"], summary["best"]) == (0.5, 1.25, 7)
    assert (summary["nested.z"], summary["val/acc"], summary["s"]) == (1, 0.2, "text")
    definitions = {said["name"]: said for said in run["definitions"]}
    assert definitions["loss"]["summary"] == "min"
    assert definitions["val/*"]["step_metric"] == "epoch"
    assert not run["losses"]
    assert not run["problems"]
    assert not run["archived"]
    assert all(math.isfinite(row["timestamp"]) and row["runtime"] >= 0 for row in rows)


@long_only
def test_values_that_rows_come_to_are_not_kept_by_hand(client: Client, kelt: Kelt) -> None:
    client.run(
        """
        r = wandb.init(id="r1")
        for i in range(5):
            r.log({"loss": float(i) + 0.5, "same": 1})
        r.finish()
        """
    )
    run = kelt.run("r1")
    assert {k: v for k, v in run["summary"].items() if k[0] != "_"} == {"loss": 4.5, "same": 1}


@long_only
def test_an_exit_code_fails_the_run(client: Client, kelt: Kelt) -> None:
    client.run('r = wandb.init(id="r1"); r.log({"a": 1}); sys.exit(3)', fails=True)
    run = kelt.run("r1")
    assert (run["state"], run["reason"]) == ("failed", "exit code 3")


@long_only
def test_an_exception_fails_the_run(client: Client, kelt: Kelt) -> None:
    client.run('r = wandb.init(id="r1"); r.log({"a": 1}); raise ValueError("no")', fails=True)
    assert kelt.run("r1")["state"] == "failed"


def test_a_killed_program_goes_silent(client: Client, kelt: Kelt) -> None:
    process = client.start(
        'r = wandb.init(id="r1"); r.log({"a": 1}); r.log({"a": 2}); time.sleep(60)'
    )
    kelt.until("r1", 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = kelt.run("r1")
    assert run["state"] == "running"  # until its lease ends
    assert run["sessions"][0]["heartbeat_at"] > run["created_at"] - 1


def test_files_are_kept_under_the_servers_folder(client: Client, kelt: Kelt) -> None:
    client.run(
        """
        os.makedirs("out", exist_ok=True)
        open("out/weights.bin", "wb").write(b"x" * 100_000)
        r = wandb.init(id="r1")
        r.save("out/weights.bin", base_path=".")
        r.log({"a": 1})
        r.finish()
        """
    )
    folder = kelt.folder / "data" / "files" / "local" / "p" / "r1"
    assert (folder / "out" / "weights.bin").read_bytes() == b"x" * 100_000
    assert (folder / "config.yaml").exists()
    assert not list(folder.rglob("*.partial"))


def test_a_server_killed_in_mid_run_loses_and_doubles_nothing(client: Client, kelt: Kelt) -> None:
    process = client.start(
        """
        r = wandb.init(id="r1", config={"a": 1})
        for i in range(400):
            r.log({"i": i, "x": i * 0.5})
            time.sleep(0.05)
        r.summary["best"] = 9
        r.finish()
        """,
        WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL="1",
    )
    kelt.until("r1", 1)
    for _ in range(3):
        time.sleep(3)
        kelt.kill()
        kelt.start()
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, out + err
    assert kelt.values("r1", "i") == [(i, i) for i in range(400)]
    assert kelt.values("r1", "x") == [(i, i * 0.5) for i in range(400)]
    run = kelt.run("r1")
    assert (run["state"], run["rows"], run["lost_rows"]) == ("finished", 400, 0)
    assert run["summary"]["best"] == 9
    assert not run["archived"]
    assert not run["problems"]
    assert streams_of(kelt, "r1") == 1


@long_only
def test_runs_by_the_same_name_are_another_branch(client: Client, kelt: Kelt) -> None:
    code = 'r = wandb.init(id="r1"); [r.log({"n": NUMBER, "i": i}) for i in range(3)]; r.finish()'
    client.run(code.replace("NUMBER", "1"))
    client.run(code.replace("NUMBER", "2"))
    assert kelt.values("r1", "n") == [(0, 2), (1, 2), (2, 2)]
    run = kelt.run("r1")
    assert len(run["archived"]) == 1
    old = kelt.get(f"/branches/{run['archived'][0]}")
    assert (old["rows"], old["summary"]["n"]) == (3, 1)


def streams_of(kelt: Kelt, run_id: str) -> int:
    run: dict[str, Any] = kelt.run(run_id)
    return len({session["writer_id"] for session in run["sessions"]})
