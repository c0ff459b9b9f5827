"""Copies of run folders, put among the runs of another state folder: found, replayed, once."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest

from harness.stack import eventually

OFFLINE = """
    import kelt
    with kelt.init("p", id="off", mode="offline") as run:
        for i in range(3000):
            run.log({"i": i, "text": "x" * 300})
"""
#: Logs 1,500 rows, says so, waits for a line, logs 1,500 more, and then as it is told.
GROWING = """
    import os, signal, sys, kelt
    run = kelt.init("p", id="grow", mode=sys.argv[1])
    for i in range(1500):
        run.log({"i": i, "text": "x" * 300})
    print("half", flush=True)
    sys.stdin.readline()
    for i in range(1500, 3000):
        run.log({"i": i, "text": "x" * 300})
    print("whole", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish()
"""
ALL = list(range(3000))


def values(reader, name):
    return [row["i"] for row in reader.history(name)]


def all_there(reader, name, wanted):
    found = eventually(lambda: (v := values(reader, name)) == wanted and v or None)
    assert found == wanted, f"{len(values(reader, name))} rows"


def folder_of(host):
    (folder,) = (host.state_dir / "runs").iterdir()
    return folder


def told(process, word):
    assert process.stdout.readline().strip() == word


@pytest.mark.parametrize("manifest", ["first", "last"])
def test_a_copy_is_found_while_it_is_still_being_made_and_nothing_of_it_counts_as_lost(
    host, other_host, reader, manifest
):
    host.run(OFFLINE)
    source = folder_of(host)
    other_host.kelt("daemon", "start")
    target = other_host.state_dir / "runs" / source.name
    target.mkdir()
    names = sorted((p.name for p in source.iterdir() if p.name != "run.json"), reverse=True)
    names = ["run.json", *names] if manifest == "first" else [*names, "run.json"]
    # The later segments come first, and each in two halves; between them it is looked at.
    for name in names:
        raw = (source / name).read_bytes()
        for part in (raw[: len(raw) // 2], raw[len(raw) // 2 :]):
            with (target / name).open("ab") as file:
                file.write(part)
            if manifest == "first" and name.startswith("spool"):
                other_host.kelt("status", "--all", "--json")
                eventually(lambda: True, pause_s=0.3)
    all_there(reader, "off", ALL)
    assert eventually(lambda: reader.run("off")["state"] == "finished" or None)
    assert reader.run("off")["losses"] == []
    # The same once more, and from where it was made: each row still once.
    shutil.copytree(source, other_host.state_dir / "runs" / "again")
    other_host.kelt("sync", other_host.state_dir / "runs" / "again")
    host.kelt("sync")
    assert values(reader, "off") == ALL
    assert len(reader.run("off")["sessions"]) == 1
    assert (other_host.state_dir / "runs" / "again" / "spool-000001.kelt").exists()


def copy_again(source, target):
    """As rsync does: each file anew, in whatever order, and renamed into its place.

    A segment that its owner deletes meanwhile is left out.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file():
            partial = target / f".{path.name}.part"
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(path, partial)
                partial.replace(target / path.name)


def go_on(trainer):
    trainer.stdin.write("\n")
    trainer.stdin.flush()


def test_a_copy_of_a_run_that_goes_on_is_followed_by_a_later_copy_and_judges_nobody(
    host, other_host, reader
):
    trainer = host.start(GROWING, "offline", "finish")
    told(trainer, "half")
    source = folder_of(host)
    target = other_host.state_dir / "runs" / "copied"
    other_host.kelt("daemon", "start")
    copy_again(source, target)
    all_there(reader, "grow", ALL[:1500])
    go_on(trainer)
    told(trainer, "whole")
    copy_again(source, target)
    all_there(reader, "grow", ALL)
    go_on(trainer)
    trainer.wait(60)
    # The copy knows nothing of the end, and nobody there may guess.
    other_host.kelt("sync", target)
    assert reader.run("grow")["state"] == "running"
    host.kelt("sync")
    assert reader.run("grow")["state"] == "finished"
    assert values(reader, "grow") == ALL


def test_a_copy_of_what_a_trainer_and_its_daemon_still_write_adds_and_changes_nothing(
    host, other_host, reader
):
    trainer = host.start(GROWING, "online", "kill")
    told(trainer, "half")
    source = folder_of(host)
    target = other_host.state_dir / "runs" / "copied"
    copy_again(source, target)
    other_host.kelt("sync", target)
    go_on(trainer)
    told(trainer, "whole")
    copy_again(source, target)
    go_on(trainer)
    trainer.wait(60)
    copy_again(source, target)
    other_host.kelt("sync", target)
    host.kelt("sync")
    run = eventually(lambda: (r := reader.run("grow"))["state"] == "crashed" and r or None)
    assert "SIGKILL" in run["reason"]
    assert values(reader, "grow") == ALL


def test_a_link_to_a_folder_elsewhere_is_followed_and_nothing_is_written_there(
    host, other_host, reader, tmp_path
):
    host.run(OFFLINE)
    away = tmp_path / "usb"
    shutil.copytree(folder_of(host), away)
    before = {p.name: p.read_bytes() for p in away.iterdir()}
    for path in (*away.iterdir(), away):
        path.chmod(0o500)
    other_host.kelt("daemon", "start")
    os.symlink(away, other_host.state_dir / "runs" / "linked")  # noqa: PTH211
    all_there(reader, "off", ALL)
    assert {p.name: p.read_bytes() for p in away.iterdir()} == before


def test_what_is_missing_in_a_copy_is_waited_for_and_said_and_not_declared_lost(
    host, other_host, reader
):
    host.run(OFFLINE)
    source = folder_of(host)
    target = other_host.state_dir / "runs" / "partial"
    shutil.copytree(source, target)
    missing = min(target.glob("spool-*"))
    kept = missing.read_bytes()
    missing.unlink()
    out, err = other_host.kelt("sync", target, code=1)
    assert "lacks records 1 to" in out
    assert "NOT synced" in out
    assert "1 run of 1 could not be sent" in err
    missing.write_bytes(kept)
    out, _ = other_host.kelt("sync", target)
    assert values(reader, "off") == ALL
    assert "3,000 rows" in out
