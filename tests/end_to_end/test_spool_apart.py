"""Runs whose folder is no place for a memory map: their spools lie on this machine's disk.

The setting that puts them there by hand stands for a run folder on a network filesystem. What
another node sees of such a run is the run folder and nothing else.
"""

import json
import shutil
import signal
from pathlib import Path

import pytest
from end_to_end.test_sync_live import has, make_another_machines, start_sync, write
from end_to_end.test_trainer_kills import FAST, Told, rows_through

from harness.stack import eventually
from kelt.journal.batches import cut_live_spool

OFFLINE = FAST.replace("id=sys.argv[1])", 'id=sys.argv[1], mode="offline")')
FOLLOWED = """
    import sys, kelt
    run = kelt.init("p", id="live", mode="offline")
    step = 0
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            run.log({"i": step})
            step += 1
    print("done", flush=True)
    run.finish()
"""


@pytest.fixture
def local(tmp_path):
    return tmp_path / "local"


def make_of_another_boot(folder):
    manifest = json.loads((folder / "run.json").read_text())
    manifest["boot_id"] = "another"
    manifest.pop("crc32")
    (folder / "run.json").write_text(json.dumps(manifest))


def only_run(host):
    (folder,) = (host.state_dir / "runs").iterdir()
    return folder


def places(local):
    return list(local.glob("kelt-*/*"))


def killed(host, local, told, script, *, after=3000):
    """A trainer killed in mid-logging, whose maps were looked at before."""
    process = host.start(script, "k", told.path, KELT_SPOOL_DIR=str(local))
    assert process.stdout.readline() == "open\n", process.stderr.read()
    eventually(lambda: told.step >= after or None, pause_s=0.0005)
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert str(local) in maps
    assert str(host.state_dir) not in maps


@pytest.mark.covers(phase="spool_write", fault="KILL trainer")
def test_every_row_of_a_killed_trainer_is_found_where_its_spool_lies(host, reader, tmp_path, local):
    host.kelt("daemon", "start")  # the trainer may be killed before it has come to start one
    told = Told(tmp_path / "told")
    killed(host, local, told, FAST, after=20_000)
    rows_through(reader, "k", told.step)
    run = eventually(lambda: (r := reader.run("k"))["state"] == "crashed" and r or None)
    assert run["lost_rows"] == 0
    eventually(lambda: not places(local) or None)
    assert not list(only_run(host).glob("spool-*"))


def test_every_row_of_a_killed_offline_trainer_is_listed_and_sent(host, reader, tmp_path, local):
    told = Told(tmp_path / "told")
    killed(host, local, told, OFFLINE)
    out, _ = host.kelt("sync", "--dry-run", "--json")
    listed = json.loads(out.splitlines()[0])
    assert listed["rows"] - told.step in (1, 2)
    host.kelt("sync")
    rows_through(reader, "k", told.step)
    assert not places(local)
    assert not list(only_run(host).glob("spool-*"))


def test_where_this_machines_disk_was_emptied_the_copy_in_the_run_folder_is_sent(
    host, reader, tmp_path, local
):
    trainer = host.start(FOLLOWED, KELT_SPOOL_DIR=str(local))
    assert trainer.stdout.readline() == "ready\n"
    write(trainer, 5000)
    # The first copy is of the very start; the next one of what was sealed when it was begun.
    copy = only_run(host) / "spool-000001.kelt"
    eventually(lambda: copy.exists() and copy.stat().st_size > 200_000 or None)
    trainer.kill()
    trainer.wait(60)
    shutil.rmtree(local)
    host.kelt("sync")
    steps = reader.steps("live")
    assert steps == list(range(len(steps)))
    assert len(steps) > 1000


@pytest.mark.covers(phase="recovery", fault="power loss")
def test_what_a_power_loss_took_from_this_machines_disk_comes_from_the_copy(host, reader, local):
    trainer = host.start(FOLLOWED, KELT_SPOOL_DIR=str(local))
    assert trainer.stdout.readline() == "ready\n"
    folder = only_run(host)
    write(trainer, 12_000)  # over three segments
    eventually(lambda: [c.last_seq > 12_000 for c in cut_live_spool(folder)][-1:] == [True])
    trainer.kill()
    trainer.wait(60)
    make_of_another_boot(folder)
    (place,) = places(local)
    segments = sorted(place.glob("spool-*"))
    with segments[0].open("r+b") as file:  # blocks that never came to the disk
        file.seek(8192)
        file.write(bytes(65536))
    segments[-1].write_bytes(b"")
    host.kelt("sync")
    assert reader.steps("live") == list(range(12_000))
    assert reader.run("live")["lost_rows"] == 0
    assert not places(local)


def test_another_node_follows_what_was_copied_and_has_every_copied_row_after_a_kill(
    host, other_host, reader, local
):
    trainer = host.start(FOLLOWED, KELT_SPOOL_DIR=str(local))
    assert trainer.stdout.readline() == "ready\n"
    folder = only_run(host)
    make_another_machines(folder)
    sync = start_sync(other_host, folder)
    write(trainer, 100)
    has(reader, 100)
    write(trainer, 20_000)  # over several segments
    has(reader, 20_100)
    assert len(list(folder.glob("spool-*.kelt"))) >= 3
    assert sync.poll() is None
    assert "lock" not in {path.name for path in folder.iterdir()}
    trainer.stdin.close()
    trainer.wait(60)
    out, err = sync.communicate(timeout=60)
    assert sync.returncode == 0, out + err
    assert reader.steps("live") == list(range(20_100))
    assert reader.run("live")["state"] == "finished"
    assert not places(local)  # the copy was whole


def test_a_daemon_that_takes_the_rows_has_spool_and_copy_released(host, reader, local):
    """Several times what a spool holds; the journal in the run folder has what both let go."""
    script = """
        import kelt
        settings = {"spool_bytes_max": 4 << 20, "spool_policy": "block(20000)"}
        run = kelt.init("p", id="much", settings=settings)
        for n in range(60_000):
            run.log({f"m{i}": float(n) for i in range(20)})
        run.finish()
    """
    host.run(script, KELT_SPOOL_DIR=str(local))
    eventually(lambda: reader.run("much")["state"] == "finished" or None)
    run = reader.run("much")
    assert (run["rows"], run["lost_rows"]) == (60_000, 0)
    folder = only_run(host)
    eventually(lambda: not list(folder.glob("spool-*")) or None)
    assert not places(local)


def test_a_run_finished_in_a_process_that_lives_on_is_sent(host, reader, local):
    trainer = host.start(
        """
        import sys, kelt
        run = kelt.init("p", id="notebook", mode="offline")
        run.log({"n": 0})
        run.finish()
        print("finished", flush=True)
        sys.stdin.readline()
        """,
        KELT_SPOOL_DIR=str(local),
    )
    assert trainer.stdout.readline() == "finished\n"
    host.kelt("sync")
    assert reader.run("notebook")["state"] == "finished"
    assert trainer.poll() is None


def test_a_finished_run_is_whole_in_its_folder_and_needs_this_machine_no_more(
    host, other_host, reader, local, tmp_path
):
    host.run(
        """
        import kelt
        run = kelt.init("p", id="whole", mode="offline")
        for n in range(3000):
            run.log({"n": n})
        run.finish()
        """,
        KELT_SPOOL_DIR=str(local),
    )
    assert not places(local)
    moved = tmp_path / "moved"
    shutil.copytree(only_run(host), moved)
    other_host.kelt("sync", moved)
    assert reader.steps("whole") == list(range(3000))
    assert reader.run("whole")["state"] == "finished"
    host.kelt("sync")
    assert reader.run("whole")["rows"] == 3000
    assert not places(local)
