"""The trainer's disk fails it: `log()` never raises, and what is missing is exactly what is told."""

import json
import shutil
import sys
import textwrap

import pytest

from harness.stack import eventually
from harness.tiny_disk import fill, remount, tiny_disk

#: Logs as many rows as each line of its input says, and answers with how many it has logged.
#: Another line is run as Python.
TRAINER = """
    import json, sys, kelt
    run = kelt.init("p", id=sys.argv[1], dir=sys.argv[2] if len(sys.argv) > 2 else None)
    pad = {f"m{k:02}": 0.5 for k in range(40)}
    logged = 0
    print(logged, flush=True)
    for line in sys.stdin:
        if line.strip().isdigit():
            for _ in range(int(line)):
                run.log({"i": logged, **pad})
                logged += 1
        else:
            exec(line)
        spool = run._session.spool if run._session else None
        print(json.dumps([logged, spool.dropped_rows if spool else 0]), flush=True)
    run.finish()
"""


class Trainer:
    """The script above, by hand."""

    def __init__(self, process):
        self.process = process
        self.lost = 0
        self.logged = int(process.stdout.readline() or self.failed())

    def failed(self):
        raise AssertionError(self.process.stderr.read())

    def tell(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        self.logged, self.lost = json.loads(self.process.stdout.readline() or self.failed())

    def log_until_lost(self, *, rows=1000, most=200_000):
        while not self.lost:
            self.tell(rows)
            assert self.logged < most, "the fault never showed"

    def log_until_kept(self):
        """Waits until rows find room again: the background thread looks for it by itself."""

        def is_kept():
            before = self.lost
            self.tell(1)
            return True if self.lost == before else None

        assert eventually(is_kept)

    def finish(self):
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return err


def losses_are_exact(reader, name, trainer):
    """What the server has and what it says it lacks make up all that was logged."""

    def is_complete():
        run = reader.run(name)
        assert run["state"] == "finished"
        assert run["rows"] + run["lost_rows"] == trainer.logged
        return run

    run = eventually(is_complete)
    found = [row["i"] for row in reader.history(name)]
    assert found == sorted(set(found))
    assert run["lost_rows"] == trainer.lost == trainer.logged - len(found)
    assert found[:100] == list(range(100))
    assert found[-1] == trainer.logged - 1
    return run, found


@pytest.mark.covers(phase="spool_rotate", fault="ENOSPC")
def lost_in_status(host):
    out, _ = host.kelt("status", "--json")
    return max((run["lost_rows"] for run in json.loads(out)["runs"]), default=0)


def test_a_full_disk_costs_the_rows_that_found_no_room_and_heals_by_itself(host, reader, tmp_path):
    with tiny_disk(tmp_path / "disk") as disk:
        trainer = Trainer(host.start(TRAINER, "full", disk / "runs"))
        trainer.tell(100)
        eventually(lambda: reader.run("full")["rows"] == 100 or None)
        fill(disk)
        trainer.log_until_lost()
        trainer.tell(3000)
        lost = trainer.lost
        shown = eventually(lambda: (n := lost_in_status(host)) >= lost and n or None)
        assert shown == lost
        log = host.state_dir / "logs" / "daemon.log"
        eventually(lambda: f'"rows":{lost}' in log.read_text().replace(" ", "") or None)
        remount(disk, "size=256m")
        trainer.log_until_kept()
        trainer.tell(2000)
        err = trainer.finish()
        run, _ = losses_are_exact(reader, "full", trainer)
        host.stop_daemon()
    assert "No space left on device" in run["losses"][0]["reason"]
    assert err.count("lost for good") <= 2
    assert err.count("there is room for rows again") == 1
    assert f"lost={trainer.lost}" in err.splitlines()[-1]


@pytest.mark.covers(phase="spool_rotate", fault="ENOSPC")
def test_losses_on_a_full_disk_are_told_even_if_the_trainer_is_killed_before_it_could(
    host, reader, tmp_path
):
    with tiny_disk(tmp_path / "disk") as disk:
        trainer = Trainer(host.start(TRAINER, "killed", disk / "runs"))
        trainer.tell(100)
        eventually(lambda: reader.run("killed")["rows"] == 100 or None)
        fill(disk)
        trainer.log_until_lost()
        trainer.tell(3000)
        trainer.process.kill()
        trainer.process.wait()
        remount(disk, "size=256m")

        def is_told():
            run = reader.run("killed")
            assert run["state"] == "crashed"
            assert run["rows"] + run["lost_rows"] == trainer.logged
            return run

        run = eventually(is_told)
        host.stop_daemon()
    assert run["lost_rows"] == trainer.lost


def test_a_run_folder_that_cannot_be_written_is_said_and_the_training_goes_on(host, tmp_path):
    with tiny_disk(tmp_path / "disk") as disk:
        remount(disk, "ro")
        trainer = Trainer(host.start(TRAINER, "readonly", disk / "runs"))
        trainer.tell(1000)
        err = trainer.finish()
    assert err.count("Read-only file system") == 1
    assert "this run is not recorded, and the training goes on" in err


@pytest.mark.covers(phase="spool_rotate", fault="EMFILE/OOM")
def test_without_a_free_descriptor_rows_are_kept_while_there_is_room_and_losses_are_exact(
    host, reader
):
    trainer = Trainer(host.start(TRAINER, "emfile"))
    trainer.tell(100)
    eventually(lambda: reader.run("emfile")["rows"] == 100 or None)
    trainer.tell("import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))")
    trainer.tell(
        "held = []; opened = iter(lambda: held.append(os.open('/dev/null', os.O_RDONLY)), 0);"
        "exec('try:\\n for _ in opened: pass\\nexcept OSError as e: assert e.errno == 24')"
    )
    trainer.log_until_lost()
    trainer.tell("[os.close(fd) for fd in held]")
    trainer.log_until_kept()
    trainer.tell(2000)
    trainer.finish()
    run, _ = losses_are_exact(reader, "emfile", trainer)
    assert "Too many open files" in run["losses"][0]["reason"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("error", "said"), [("EIO", "Input/output error"), ("EROFS", "Read-only file system")]
)
@pytest.mark.covers(phase="spool_rotate", fault="EIO")
def test_a_disk_that_fails_in_mid_run_costs_the_rows_that_find_no_room(
    host, reader, tmp_path, error, said
):
    host.kelt("daemon", "start")  # not by the trainer: it shall not fail likewise
    script = tmp_path / "trainer.py"
    script.write_text(textwrap.dedent(TRAINER))
    # The third to the eighth segment cannot be made.
    inject = f"inject=fallocate:error={error}:when=3..8"
    options = ["-f", "-qq", "--seccomp-bpf", "-e", "trace=fallocate", "-e", inject]
    process = host.start_command(
        ["strace", *options, "-o", "/dev/null", sys.executable, str(script), "sick"]
    )
    trainer = Trainer(process)
    trainer.log_until_lost()
    trainer.log_until_kept()
    trainer.tell(2000)  # into several segments, of which some cannot be made either
    trainer.log_until_kept()
    trainer.finish()
    run, _ = losses_are_exact(reader, "sick", trainer)
    assert said in run["losses"][0]["reason"]
