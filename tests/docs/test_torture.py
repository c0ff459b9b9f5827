"""The long run is bounded, goes on where it stopped, and says how a failure is repeated."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from docs.test_guarantees import script

from harness.stack import eventually

PROGRAM = """
import json, os, subprocess, sys
seed = int(sys.argv[1])
with open(os.environ["KELT_FAULT_COUNTS"], "a") as file:
    line = {"phase": "gc", "fault": "KILL daemon", "count": 5, "failed": 0, "test": "t"}
    file.write(json.dumps(line) + "\\n")
with open(os.environ["LOG"], "a") as file:
    file.write(f"{seed} {os.environ['KELT_TORTURE_SEEDS']}\\n")
if os.path.exists(f"{os.environ['LOG']}.bad.{seed}"):
    sys.exit("seed " + str(seed) + " went wrong")
if os.path.exists(f"{os.environ['LOG']}.long.{seed}"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    with open(f"{os.environ['LOG']}.child", "w") as file:
        file.write(str(child.pid))
    child.wait()
"""


@pytest.fixture
def torture(tmp_path, monkeypatch):
    module = script("torture")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    for name, path in (("BUILD", "."), ("STATE", "state.json"), ("RESULTS", "results.jsonl")):
        monkeypatch.setattr(module, name, tmp_path / path)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    tiers = tuple(
        module.Tier(
            name,
            (str(program), "{seed}"),
            units=units,
            seeds=10,
            environment={"KELT_TORTURE_SEEDS": name},
            is_script=True,
        )
        for name, units in (("long", 3), ("short", 1))
    )
    monkeypatch.setattr(module, "TIERS", tiers)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["torture.py", *arguments])
        return module.main()

    return run


def test_tiers_take_turns_and_what_is_done_is_not_done_again(torture, tmp_path):
    assert torture() == 0
    wanted = ["10 long", "10 short", "20 long", "30 long"]
    assert (tmp_path / "log").read_text().splitlines() == wanted
    assert torture() == 0
    assert (tmp_path / "log").read_text().splitlines() == wanted
    counts = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["unit"] for line in counts] == ["long:0", "short:0", "long:1", "long:2"]
    assert sum(line["count"] for line in counts) == 20
    assert torture("--afresh", "--tiers", "short") == 0
    assert (tmp_path / "log").read_text().splitlines() == [*wanted, "10 short"]


def test_a_unit_that_fails_is_told_with_its_command_and_stays_undone(torture, tmp_path, capsys):
    bad = tmp_path / "log.bad.20"
    bad.touch()
    assert torture("--tiers", "long") == 1
    said = capsys.readouterr().out
    assert "seed 20 went wrong" in said
    assert "KELT_TORTURE_SEEDS=long" in said.partition("again: ")[2]
    bad.unlink()
    assert "seed 20 went wrong" in (tmp_path / "failed-long-1.txt").read_text()
    assert torture("--tiers", "long") == 0
    assert (tmp_path / "log").read_text().splitlines()[3:] == ["20 long"]
    counts = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert sorted(line["unit"] for line in counts) == ["long:0", "long:1", "long:2"]
    assert not (tmp_path / "failed-long-1.txt").exists()


def test_what_the_end_of_the_time_cuts_off_counts_nothing_and_is_repeated(torture, tmp_path):
    long = tmp_path / "log.long.10"
    long.touch()
    assert torture("--tiers", "short", "--minutes", "0.03") == 0
    assert not (tmp_path / "results.jsonl").exists()
    long.unlink()
    assert torture("--tiers", "short") == 0
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_a_unit_that_is_ended_leaves_no_process(torture, tmp_path):
    module = script("torture")
    (tmp_path / "log.long.10").touch()
    command = module.Unit(module.TIERS[1], 0).command(workers=1)
    environ = os.environ | {"KELT_FAULT_COUNTS": os.devnull, "KELT_TORTURE_SEEDS": "short"}
    process = subprocess.Popen(
        command, env=environ, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    child = tmp_path / "log.child"
    eventually(lambda: (child.exists() and child.read_text()) or None)
    module.end_unit(process)
    eventually(lambda: None if is_running(int(child.read_text())) else True)


def is_running(pid):
    """Not gone, nor dead and waiting for its parent."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def test_a_unit_whose_tests_were_all_skipped_is_not_done(torture, tmp_path, capsys, monkeypatch):
    module = script("torture")
    skipped = tmp_path / "test_skipped.py"
    skipped.write_text("import pytest\npytestmark = pytest.mark.skip\ndef test_it(): pass\n")
    monkeypatch.setattr(module, "TIERS", (module.Tier("absent", (str(skipped),), workers=1),))
    assert torture() == 1
    assert "No fault was counted" in capsys.readouterr().out
    assert module.read_state() == {}


def test_without_time_left_nothing_is_started(torture, tmp_path):
    assert torture("--minutes", "0") == 0
    assert not (tmp_path / "log").exists()


def test_a_tier_that_is_not_there_is_a_mistake(torture):
    with pytest.raises(SystemExit, match="no tier"):
        torture("--tiers", "naps")


def test_every_tier_of_the_tree_names_what_is_there():
    module = script("torture")
    assert [tier.name for tier in module.TIERS if not tier.is_there] == []
