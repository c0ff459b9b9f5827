"""`kelt runs` as a process, against a real server that holds known runs."""

from __future__ import annotations

import json
import math
import os
import pty
import select
import subprocess

import pytest
from cli.pushed_runs import PushedRun

from harness.stack import ServerProcess
from kelt.api_client import Api
from kelt.cli.exit_codes import ExitCode


@pytest.fixture(scope="module")
def known(server):
    """A baseline that was rewound and then failed, a fork of it, and a run that lost rows."""
    port = server.facts["grpc_port"]
    baseline = PushedRun(port, "baseline", project="known").opened(name="brave-otter-1")
    baseline.config(lr=0.1, epochs=10, limit=math.inf, nested={"a": [1, 1.0]})
    for step in range(100):
        baseline.row(step, loss=1.0 / (step + 1), n=step)
    baseline.push()
    fork = PushedRun(port, "forked", project="known", started_at=baseline.started_at + 1)
    fork.opened(forked=baseline.point(39), name="calm-heron-2").config(lr=0.5)
    for step in range(40, 60):
        fork.row(step, loss=float("nan"), note="a\x1b[31mb")
    fork.ended().push()
    baseline.rewound(49)
    for step in range(50, 70):
        baseline.row(step, loss=2.0, n=step, ok=True)
    baseline.ended(143, "terminated by SIGTERM", 15).push()
    lossy = PushedRun(port, "lossy", project="known", started_at=baseline.started_at + 2)
    lossy.opened().row(0, x=1).lost(12, "the disk was full").printed("one", "two").push()
    return {"baseline": baseline, "fork": fork, "lossy": lossy}


@pytest.fixture
def kelt_known(served, known):
    return served


def json_lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]


def test_ls_shows_state_rows_lineage_and_age_newest_first(kelt_known):
    result = kelt_known("runs", "ls", "known")
    assert result.returncode == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["RUN", "NAME", "STATE", "REASON", "ROWS", "STEP", "FROM", "AGE"]
    assert [line[0] for line in lines[1:]] == ["lossy", "forked", "baseline"]
    assert lines[2][:-1] == ["forked", "calm-heron-2", "finished", "60", "59", "baseline", "@39"]
    wanted = "baseline brave-otter-1 failed terminated by SIGTERM 70 69 rewound @49"
    assert lines[3][:-1] == wanted.split()
    assert "12 rows lost" in result.stdout
    assert "\x1b" not in result.stdout


def test_ls_as_json_is_a_line_of_strict_json_a_run(kelt_known, server, known):
    runs = json_lines(kelt_known("runs", "ls", "known", "--json"))
    assert [run["run_id"] for run in runs] == ["lossy", "forked", "baseline"]
    assert runs[2]["config"]["limit"] == {"$float": "Infinity"}
    assert runs[2]["url"] == f"{server.url}/local/known/runs/baseline"
    assert runs[2]["immutable_id"] == known["baseline"].branch_id


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--state", "failed"], ["baseline"]),
        (["--state", "failed", "--state", "finished"], ["forked", "baseline"]),
        (["--filters", '{"config.lr": {"$gt": 0.2}}'], ["forked"]),
        (["--order", "+run_id"], ["baseline", "forked", "lossy"]),
        (["--limit", "1"], ["lossy"]),
        (["--state", "failed", "--filters", '{"config.lr": 0.5}'], []),
    ],
)
def test_ls_filters_sorts_and_limits(kelt_known, options, found):
    runs = json_lines(kelt_known("runs", "ls", "known", "--json", *options))
    assert [run["run_id"] for run in runs] == found


def test_ls_says_so_when_nothing_matches_or_more_is_there(kelt_known):
    nothing = kelt_known("runs", "ls", "nothing-here")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "No runs here that match" in nothing.stderr
    assert "There is local/known" in nothing.stderr
    assert "1 of 3 runs" in kelt_known("runs", "ls", "known", "--limit", "1").stderr


def test_ls_tells_of_other_entities_and_lists_them(kelt_known, server):
    PushedRun(server.facts["grpc_port"], "theirs", project="known", entity="crew").opened().push()
    own = kelt_known("runs", "ls")
    assert "theirs" not in own.stdout
    assert own.stderr.endswith(
        "kelt: These are of local. There are runs of crew too: --entity NAME, or --all.\n"
    )
    of_crew = kelt_known("runs", "ls", "--entity", "crew")
    assert [line.split()[0] for line in of_crew.stdout.splitlines()] == ["RUN", "known/theirs"]
    every = kelt_known("runs", "ls", "--all", "known", "--order", "+run_id")
    assert [line.split()[0] for line in every.stdout.splitlines()[1:]] == [
        "local/known/baseline", "local/known/forked", "local/known/lossy", "crew/known/theirs",
    ]  # fmt: skip
    refused = kelt_known("runs", "ls", "--all", "crew/known")
    assert (refused.returncode, "--all" in refused.stderr) == (ExitCode.USAGE, True)


def test_show_tells_everything_of_one_run(kelt_known, known):
    result = kelt_known("runs", "show", "known/baseline")
    assert result.returncode == 0
    text = result.stdout
    assert text.startswith("local/known/baseline\n")
    assert "failed: terminated by SIGTERM" in text
    assert f"baseline ({known['baseline'].branch_id})" in text
    assert "└─ rewound from step 49 of baseline (" in text
    assert "archived: baseline (" in text
    assert "forked at step 39: forked, finished, 60 rows, last step 59" in text
    assert "100 rows, last step 99" in text
    assert '{"a": [1, 1.0]}' in text
    assert "▁" in text
    lossy = kelt_known("runs", "show", "known/lossy").stdout
    assert "12 rows of writer" in lossy
    assert "the disk was full" in lossy


def test_show_gets_through_a_terminal_that_knows_ascii_alone(kelt_known):
    result = kelt_known("runs", "show", "known/baseline", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert "rewound from step 49" in result.stdout


def test_show_takes_an_immutable_id_alone_and_what_others_wrote_is_harmless(kelt_known, known):
    result = kelt_known("runs", "show", known["fork"].branch_id)
    assert result.stdout.startswith("local/known/forked\n")
    assert "a\\x1b[31mb" in result.stdout
    [run] = json_lines(kelt_known("runs", "show", known["fork"].branch_id, "--json"))
    assert run["run_id"] == "forked"


def test_tail_shows_the_last_rows_as_json_lines_with_exact_values(kelt_known):
    rows = json_lines(kelt_known("runs", "tail", "known/forked", "-n", "2", "--json"))
    assert [row["_step"] for row in rows] == [58, 59]
    assert rows[0]["loss"] == {"$float": "NaN"}
    assert rows[0]["note"] == "a\x1b[31mb"
    only = json_lines(kelt_known("runs", "tail", "known/baseline", "-n1", "--json", "--key", "ok"))
    assert only == [{"_step": 69, "ok": True}]


def test_tail_follows_a_running_run_to_its_end(served, server):
    run = PushedRun(server.facts["grpc_port"], "live", project="tail").opened()
    run.row(0, x=0).push()
    process = served.start("runs", "tail", "tail/live", "--json", "--interval", "0.1")
    assert json.loads(process.stdout.readline())["x"] == 0
    run.row(1, x=1).push()
    assert json.loads(process.stdout.readline())["x"] == 1
    run.row(2, x=2).ended(1, "ValueError: too high").push()
    out, err = process.communicate(timeout=60)
    assert [json.loads(line)["x"] for line in out.splitlines()] == [2]
    assert (process.returncode, err) == (0, "kelt: live: failed: ValueError: too high\n")


def on_a_terminal(command, environ, columns):
    """What a command writes to a terminal of that width."""
    master, slave = pty.openpty()
    environ = {k: v for k, v in environ.items() if k not in {"NO_COLOR", "TERM"}}
    process = subprocess.Popen(
        ["sh", "-c", f'stty cols {columns}; exec "$@"', "sh", *command],
        env=environ | {"TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    output = b""
    while select.select([master], [], [], 30)[0]:
        try:
            output += os.read(master, 65536)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert process.wait(60) == 0
    return output.decode()


def test_on_a_terminal_lines_fit_into_80_columns_and_states_have_colours(kelt_known):
    from cli.conftest import COMMAND

    text = on_a_terminal([*COMMAND, "runs", "ls"], kelt_known.environ, 80)
    assert "\x1b[31mfailed" in text
    import re

    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(len(line) <= 80 for line in plain.splitlines())
    assert "known/baseline" in plain


def test_the_api_reads_back_every_row_with_the_types_that_were_logged(server, known, monkeypatch):
    monkeypatch.setenv("KELT_CONFIG", os.devnull)
    values = {
        "one": 1,
        "one_float": 1.0,
        "huge": 2**62,
        "precise": 2**53 + 1,
        "no": False,
        "none": None,
        "inf": -math.inf,
        "text": "é\ud800",
        "items": [1, 1.0, None, True, "x"],
    }
    run = PushedRun(server.facts["grpc_port"], "types", project="types").opened()
    run.row(0, **values).row(1, other=1).push()
    with Api(server.url) as api:
        first, second = api.run("types/types").scan_history(page_size=1)
    for row in (first, second):
        row.pop("_timestamp")
    assert repr(first) == repr({"_step": 0, "_runtime": 0.0} | values)
    assert second == {"_step": 1, "_runtime": 1.0, "other": 1}


def test_forked_and_rewound_histories_are_read_through_their_ancestors(server, known, monkeypatch):
    monkeypatch.setenv("KELT_CONFIG", os.devnull)
    with Api(server.url) as api:
        runs = {run.id: run for run in api.runs("known", order="+run_id", per_page=2)}
        baseline, forked = runs["baseline"], runs["forked"]
        assert [row["n"] for row in baseline.scan_history(["n"])] == list(range(70))
        assert [row["_step"] for row in forked.scan_history()] == list(range(60))
        assert [row["_step"] for row in baseline.scan_history(min_step=48, max_step=51)] == [
            48,
            49,
            50,
            51,
        ]
        [archived] = baseline.archived
        assert [row["n"] for row in archived.scan_history(["n"], page_size=7)] == list(range(100))
        assert forked.lineage[0].immutable_id == archived.immutable_id
        assert forked.lineage[0].fork_step == 39
        assert forked.config == {
            "lr": 0.5,
            "epochs": 10,
            "limit": math.inf,
            "nested": {"a": [1, 1.0]},
        }
        [bucket] = baseline.buckets(["n"], buckets=1)["n"]
        assert (bucket.from_step, bucket.to_step, bucket.count) == (0, 69, 70)
        assert (bucket.min, bucket.max, bucket.mean) == (0, 69, 34.5)
        frame = baseline.history(["loss"], samples=5)
        assert len(frame) <= 5
        assert list(frame.columns) == ["_step", "loss"]
        assert api.run(archived.immutable_id).is_archived


def test_a_server_with_a_key_refuses_others_with_the_variable_to_set(kelt, tmp_path):
    process = ServerProcess(tmp_path / "keyed", environment={"KELT_SERVER_API_KEY": "secret"})
    process.start()
    try:
        kelt.environ["KELT_UPSTREAM"] = process.url
        for key in ({}, {"KELT_API_KEY": "wrong"}):
            result = kelt("runs", "ls", **key)
            assert result.returncode == ExitCode.FAILED
            assert "refused the key" in result.stderr
            assert "Set KELT_API_KEY" in result.stderr
        assert kelt("runs", "ls", KELT_API_KEY="secret").returncode == 0
        lines = kelt("doctor", KELT_API_KEY="wrong").stdout.splitlines()
        assert [line.split()[1] for line in lines if line.startswith("fail")] == ["key"]
    finally:
        process.stop()


def test_doctor_finds_nothing_wrong_with_a_host_and_its_server(served):
    result = served("doctor", "--json")
    checks = json_lines(result)
    assert {c["check"] for c in checks} >= {"python", "space", "upstream", "key", "clock", "ingest"}
    assert not [c for c in checks if c["level"] == "fail"]


def test_logs_shows_the_console(kelt_known):
    result = kelt_known("runs", "logs", "known/lossy")
    assert (result.returncode, result.stdout) == (0, "one\ntwo\n")
    (line,) = json_lines(kelt_known("runs", "logs", "known/lossy", "--last", "1", "--json"))
    assert line == {
        "number": 1, "timestamp": "1970-01-01T00:00:05+00:00", "level": "", "label": "",
        "content": "two",
    }  # fmt: skip
    assert kelt_known("runs", "logs", "known/nobody").returncode == ExitCode.FAILED
