"""The console and the machine in the records of whole runs; how runs end is in test_exit_hooks."""

from __future__ import annotations

import sys

import pytest

PRELUDE = "import kelt, sys, time\n"
HELLO = """
run = kelt.init("p")
print("hello")
sampling = run._session.output._sampling
while sampling is not None and (sampling._metrics is None or sampling._is_under_way):
    time.sleep(0.01)
run.finish()
"""


def test_each_run_of_a_process_has_what_was_printed_while_it_was_open(
    run_script, folders, contents
) -> None:
    done = run_script(
        PRELUDE
        + """
print("before")
first = kelt.init("p")
print("in the first")
second = kelt.init("p", reinit="create_new")
print("in both", file=sys.stderr)
second.finish()
print("in the first again")
first.finish()
print("after")
third = kelt.init("p")
print("half a line", end="")
third.finish()
assert not any("write" in vars(stream) for stream in (sys.stdout, sys.stderr))
"""
    )
    assert (done.returncode, done.stderr) == (0, "in both\n")
    assert done.stdout == "before\nin the first\nin the first again\nafter\nhalf a line"
    assert [contents(folder).printed for folder in folders()] == [
        ["in the first", "in both", "in the first again"],
        ["in both"],
        ["half a line"],
    ]


def test_a_rewind_leaves_the_console_of_the_branch_and_begins_another(start, contents) -> None:
    run = start()
    run.log({"a": 1})
    run.log({"a": 2})
    sys.stdout.write("one\ntwo\n")
    before = run.immutable_id
    run.rewind(0)
    sys.stdout.write("three\n")
    run.finish()
    (folder,) = run.settings.state_dir.runs.iterdir()
    assert contents(folder).console == {
        (before, 0): "one",
        (before, 1): "two",
        (run.immutable_id, 0): "three",
    }


@pytest.mark.parametrize(
    ("environ", "printed"),
    [
        ({"KELT_CONSOLE": "off", "KELT_DISABLE_STATS": "1"}, []),
        ({"KELT_STATS_SAMPLING_INTERVAL_S": "0.1"}, ["hello"]),
        (
            {"KELT_CONSOLE": "redirect", "KELT_DISABLE_STATS": "1", "KELT_SILENT": "0"},
            ["hello"],
        ),
    ],
)
def test_settings_say_what_is_kept(run_script, folders, contents, environ, printed) -> None:
    done = run_script(PRELUDE + HELLO, **environ)
    assert done.returncode == 0, done.stderr
    found = contents(folders()[0])
    assert [line for line in found.printed if not line.startswith("kelt: ")] == printed
    assert ("is taken for 'wrap'" in done.stderr) == ("redirect" in environ.values())
    assert bool(found.samples) == ("KELT_STATS_SAMPLING_INTERVAL_S" in environ)
    for sample in found.samples:
        assert 0 < sample.runtime < 60
        assert "system.cpu" in {item.key for item in sample.values}


def test_a_run_that_is_over_soon_loads_nothing_that_measures(run_script) -> None:
    body = "kelt.init('p').finish(); print('psutil' in sys.modules, 'pynvml' in sys.modules)"
    assert run_script(PRELUDE + body).stdout == "False False\n"


def test_a_disabled_run_leaves_the_streams_alone(start) -> None:
    write = sys.stdout.write
    run = start(mode="disabled")
    assert sys.stdout.write == write
    run.finish()


def test_output_that_fails_is_given_up_and_costs_no_row(
    start, contents, monkeypatch, capsys
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of kelt's")

    monkeypatch.setattr("kelt.console_log.records.console", fail)
    run = start(settings={"silent": False})
    sys.stdout.write("something\n")
    for i in range(3):
        run.log({"i": i})
    run._session.output.turn(1e9)
    run.finish()
    (folder,) = run.settings.state_dir.runs.iterdir()
    assert len(contents(folder).rows) == 3
    assert capsys.readouterr().err.count("are given up (RuntimeError: a mistake of kelt's)") == 1


def test_a_console_never_takes_the_room_that_rows_need(start, contents) -> None:
    run = start(settings={"spool_bytes_max": 1 << 20})
    output = run._session.output
    for moment in range(40):
        sys.stdout.write(("y" * 99 + "\n") * 600)
        output.turn(1000.0 + moment)
    for i in range(1000):
        run.log({"i": i})
    run.finish()
    assert run._session.spool.dropped_rows == 0
    (folder,) = run.settings.state_dir.runs.iterdir()
    found = contents(folder)
    assert len(found.rows) == 1000
    assert any("are missing here" in line for line in found.printed)
