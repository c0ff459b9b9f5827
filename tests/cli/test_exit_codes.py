"""Each documented exit code occurs, and each failure is one sentence without a traceback."""

from __future__ import annotations

import signal
import socket

import pytest

from kelt.cli.exit_codes import MEANINGS, ExitCode


def sentence(result):
    """What the process said on stderr: one line."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("kelt: ")
    return lines[0]


def test_the_help_lists_every_exit_code_with_its_meaning(kelt):
    text = kelt("--help").stdout
    for code, meaning in MEANINGS.items():
        assert f"{code.value:>3}  {meaning}" in text


@pytest.mark.parametrize("group", [(), ("runs",), ("daemon",)])
def test_no_command_is_described_in_part(kelt, group):
    described = kelt(*group, "--help").stdout.partition("Commands:")[2]
    assert described
    assert "..." not in described


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("runs", "--help"), ("runs", "tail", "-h"), ("daemon", "stop")],
)
def test_0_when_all_went_well(kelt, arguments):
    result = kelt(*arguments)
    assert (result.returncode, result.stderr) == (ExitCode.OK, "")
    assert result.stdout


@pytest.mark.parametrize(
    ("arguments", "reason", "remedy"),
    [
        (("runs", "show", "demo/nope"), "knows no run 'demo/nope'", "kelt runs ls"),
        (("runs", "tail", "0123abcd"), "knows no run '0123abcd'", "project/run_id"),
        (("daemon", "logs"), "no daemon has run", ""),
    ],
)
def test_1_when_something_failed(served, arguments, reason, remedy):
    result = served(*arguments)
    assert result.returncode == ExitCode.FAILED
    assert reason in sentence(result)
    assert remedy in sentence(result)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--nope",), "No such option"),
        (("nope",), "No such command 'nope'"),
        (("runs", "show"), "Missing argument"),
        (("runs", "ls", "--limit", "0"), "--limit"),
        (("runs", "ls", "a/b/c"), "does not name a project"),
        (("runs", "show", "a/b/c/d/e"), "does not name a run"),
        (("runs", "ls", "--filters", "{"), "--filters is not JSON"),
        (("runs", "ls", "--filters", "[]"), "--filters is not a JSON object"),
        (("runs", "ls", "--upstream", "nonsense"), "'upstream' cannot be 'nonsense'"),
        (("sync", "/does/not/exist"), "is no folder"),
    ],
)
def test_2_on_wrong_usage(kelt, arguments, reason):
    result = kelt(*arguments)
    assert (result.returncode, result.stdout) == (ExitCode.USAGE, "")
    assert reason in sentence(result)


@pytest.mark.parametrize(
    "arguments",
    [(), ("runs",), ("daemon",)],
)
def test_2_without_a_command_and_the_help_on_stderr(kelt, arguments):
    result = kelt(*arguments)
    assert (result.returncode, result.stdout) == (ExitCode.USAGE, "")
    assert result.stderr.startswith("Usage: kelt")


def test_2_for_a_setting_that_cannot_be_understood_names_its_variable(kelt):
    result = kelt("status", KELT_MODE="sometimes")
    assert result.returncode == ExitCode.USAGE
    assert "KELT_MODE" in sentence(result)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("runs", "ls"), "cannot be reached"),
        (("runs", "show", "a/b"), "cannot be reached"),
        (("status",), "No daemon runs"),
        (("daemon", "status"), "No daemon runs"),
    ],
)
def test_3_when_daemon_or_upstream_cannot_be_reached(kelt, arguments, reason):
    result = kelt(*arguments)
    assert (result.returncode, result.stdout) == (ExitCode.UNREACHABLE, "")
    assert reason in sentence(result)


def test_130_when_interrupted(kelt):
    log = kelt.state_dir / "logs" / "daemon.log"
    log.parent.mkdir(parents=True)
    log.write_text('{"event": "hello"}\n')
    process = kelt.start("daemon", "logs", "-f")
    assert process.stdout.readline() == "hello\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (ExitCode.INTERRUPTED, "")


def test_doctor_fails_with_1_when_a_check_fails_and_names_the_remedy(kelt):
    result = kelt("doctor")
    assert result.returncode == ExitCode.FAILED
    assert "1 check failed" in sentence(result)
    [line] = [line for line in result.stdout.splitlines() if line.startswith("fail")]
    assert "Start it with `kelt server`" in line


def test_the_server_says_that_its_port_is_in_use(kelt, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = kelt("server", "--port", port, "--dir", tmp_path / "data")
    assert result.returncode != 0
    assert f"{port} cannot be listened on" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("command", "module"), [("server", "duckdb"), ("server", "uvicorn"), ("demo", "sklearn")]
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(kelt, command, module):
    code = f"import sys; sys.modules[{module!r}] = None; sys.argv = ['kelt', {command!r}]; "
    result = kelt.python(code + "from kelt.cli.main import main; main()")
    assert result.returncode == ExitCode.FAILED
    assert sentence(result).endswith(f"({module}). Run: pip install 'kelt[{command}]'")


def test_a_reader_that_has_seen_enough_is_no_error(served):
    result = served.python(
        "import subprocess, sys; "
        "command = [sys.executable, '-m', 'kelt.cli', '--help']; "
        "process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE); "
        "process.stdout.close(); "
        "print(process.stderr.read().decode()); print(process.wait())"
    )
    assert result.stdout.split() == ["0"]
