"""`kelt sync --live`: a run is followed while it is written, from a host that cannot see who."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from harness.stack import eventually

WRITING = """
    import sys, kelt
    run = kelt.init("p", id="live", mode="offline")
    step = 0
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            run.log({"i": step})
            step += 1
    run.finish()
"""


def start_sync(host, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "kelt.cli.main", "sync", "--live", *map(str, arguments)],
        env=host.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def write(trainer, rows):
    trainer.stdin.write(f"{rows}\n")
    trainer.stdin.flush()


def has(reader, rows):
    def look():
        names = [run["run_id"] for run in reader.get("/runs", project="p")["runs"]]
        return True if names and reader.steps("live") == list(range(rows)) else None

    assert eventually(look), reader.get("/runs", project="p")


def make_another_machines(folder: Path) -> None:
    """The trainer has written its manifest and reads it no more; on a login node it looks so."""
    manifest = json.loads((folder / "run.json").read_text())
    manifest["machine_id"] = "0" * 32
    manifest.pop("crc32", None)
    (folder / "run.json").write_text(json.dumps(manifest))


def test_a_run_of_another_machine_is_followed_until_it_ends_over_ctrl_c_and_a_new_start(
    host, other_host, reader
):
    trainer = host.start(WRITING)
    assert trainer.stdout.readline() == "ready\n"
    (folder,) = (host.state_dir / "runs").iterdir()
    make_another_machines(folder)
    files = set(folder.iterdir())

    sync = start_sync(other_host, folder)
    write(trainer, 100)
    has(reader, 100)
    assert reader.run("live")["state"] == "running"
    sync.send_signal(signal.SIGINT)
    out, err = sync.communicate(timeout=60)
    assert sync.returncode == 130
    assert "102 records sent" not in out
    assert "100 rows" in out
    has(reader, 100)

    write(trainer, 50)
    sync = start_sync(other_host, folder)
    has(reader, 150)
    write(trainer, 1)
    has(reader, 151)
    assert sync.poll() is None
    trainer.stdin.close()
    trainer.wait(60)
    out, err = sync.communicate(timeout=60)
    assert sync.returncode == 0, out + err
    assert "p/live: synced" in out
    assert reader.steps("live") == list(range(151))
    assert reader.run("live")["state"] == "finished"
    assert {path for path in folder.iterdir() if "spool" not in path.name} <= files


def test_an_offline_run_of_this_machine_is_followed_and_its_death_is_told(host, reader):
    trainer = host.start(WRITING)
    assert trainer.stdout.readline() == "ready\n"
    sync = start_sync(host)
    write(trainer, 30)
    has(reader, 30)
    write(trainer, 30)
    has(reader, 60)
    trainer.kill()
    out, err = sync.communicate(timeout=60)
    assert sync.returncode == 0, out + err
    run = eventually(lambda: (r := reader.run("live"))["state"] == "crashed" and r or None)
    assert "SIGKILL" in run["reason"] or "not known" in run["reason"]
    assert reader.steps("live") == list(range(60))
