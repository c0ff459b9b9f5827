"""Runs from the outside: what is written offline, and what later sessions make of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest

import kelt
from kelt.errors import BranchPointError, RunIdInUseError, UsageError
from kelt.run_folder import is_locked, read_manifest


def log_rows(run, count, name="a"):
    for _ in range(count):
        run.log({name: float(run.step)})


# -- a plain run ---------------------------------------------------------------------------------


def test_a_run_is_written_as_it_was_logged(start, contents) -> None:
    run = start(
        config={"lr": 0.1}, name="first", tags=["x"], notes="n", group="g", job_type="train"
    )
    assert kelt.run is run
    kelt.log({"loss": 0.5, "nested": {"x": 1}})
    kelt.log({"loss": 0.25})
    kelt.finish()
    assert kelt.run is None
    found = contents(run.dir)
    assert found.seqs == list(range(1, 6))
    assert [r.values for r in found.rows] == [{"loss": 0.5, "nested.x": 1}, {"loss": 0.25}]
    opened = found.opened
    assert opened.WhichOneof("origin") == "created"
    assert (opened.project, opened.run_id, opened.branch_id) == ("p", run.id, run.immutable_id)
    assert (opened.info.name, opened.info.notes, list(opened.info.tags.values)) == (
        "first",
        "n",
        ["x"],
    )
    assert [e.exit_code for e in found.exits] == [0]
    manifest = read_manifest(run.dir)
    assert (manifest.run_id, manifest.branch_id, manifest.mode) == (
        run.id,
        run.immutable_id,
        "offline",
    )


def test_a_folder_is_locked_while_its_run_is_open(start) -> None:
    run = start()
    assert is_locked(run.dir)
    run.finish()
    assert not is_locked(run.dir)


def test_without_a_project_there_is_one(start) -> None:
    assert start(None).project == "Uncategorized"


def test_after_the_end_a_call_is_a_mistake_and_outside_too(start) -> None:
    run = start()
    run.finish()
    run.finish()
    for call in (
        lambda: run.log({"a": 1}),
        lambda: run.config.update(a=1),
        lambda: run.rewind(0),
        lambda: kelt.log({"a": 1}),
        lambda: kelt.config,
    ):
        with pytest.raises(UsageError, match=r"call kelt\.init\(\)"):
            call()


def test_disabled_accepts_everything_and_writes_nothing(start, kelt_dir) -> None:
    with start(mode="disabled", config={"a": 1}) as run:
        run.log({"x": 1})
        run.config.b = 2
        run.summary["best"] = 3
        run.define_metric("x", summary="min")
        run.rewind(0)
        with pytest.raises(UsageError):
            run.log({"x": {1}})
        assert (run.config.as_dict(), run.url, run.step) == ({"a": 1, "b": 2}, None, 1)
    assert not kelt_dir.exists()


def test_dir_puts_the_folder_elsewhere_and_leaves_a_link(start, kelt_dir, tmp_path) -> None:
    run = start(dir=tmp_path / "shared")
    run.log({"a": 1})
    assert run.dir.parent == tmp_path / "shared"
    assert (kelt_dir / "runs" / run.dir.name).resolve() == run.dir


def test_a_state_folder_that_cannot_be_made_stops_no_training(
    start, tmp_path, monkeypatch, capsys
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KELT_DIR", str(tmp_path / "file" / "state"))
    monkeypatch.setenv("KELT_SILENT", "0")
    run = start()
    run.log({"a": 1})
    run.finish()
    assert run.disabled
    said = capsys.readouterr().err
    assert "Point KELT_DIR at a folder of your own" in said


def test_reinit_returns_finishes_or_adds(kelt_dir) -> None:
    first = kelt.init("p")
    assert kelt.init("p") is first
    second = kelt.init("p", reinit="finish_previous")
    assert second is not first
    with pytest.raises(UsageError):
        first.log({"a": 1})
    third = kelt.init("p", reinit="create_new")
    assert kelt.run is second
    third.log({"a": 1})


# -- config and summary ---------------------------------------------------------------------------


def test_every_change_of_config_is_recorded_with_its_top_level_key(start, contents) -> None:
    @dataclasses.dataclass
    class Model:
        width: int = 3

    run = start(config=argparse.Namespace(lr=0.1, model=Model()))
    run.config.lr = np.float32(0.5)
    run.config["model"]["width"] = 4
    run.config.model.depth = 2
    run.config.update({"a": 1}, b=2)
    del run.config["a"]
    assert run.config.as_dict() == {"lr": 0.5, "model": {"width": 4, "depth": 2}, "b": 2}
    assert run.config.model.width == 4
    run.finish()
    changes = [
        [(i.key, None if i.removed else json.loads(i.json)) for i in c.items]
        for c in contents(run.dir).controls
    ]
    assert changes == [
        [("lr", 0.1), ("model", {"width": 3})],
        [("lr", 0.5)],
        [("model", {"width": 4})],
        [("model", {"width": 4, "depth": 2})],
        [("a", 1), ("b", 2)],
        [("a", None)],
    ]


def test_a_config_value_that_cannot_be_stored_is_named(start) -> None:
    with pytest.raises(UsageError, match=r"kelt\.config: the value of 'model\.x' is an object"):
        start(config={"model": {"x": object()}})
    run = start()
    with pytest.raises(UsageError, match="'bad' is an object"):
        run.config.update({"good": 1, "bad": object()})
    assert "good" not in run.config


def test_a_key_with_a_dot_beside_a_nested_one_is_kept_and_said(
    start, contents, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("KELT_SILENT", "0")
    run = start(config={"a.b": 1, "c": {"d": 2}, "e.f": 3})
    run.config["a"] = {"b": 4}
    run.config.update({"c.d": 5})
    run.config.update({"c.d": 6})
    said = capsys.readouterr().err
    assert said.count("at the same path") == 2
    assert "whoever asks for config.a.b gets the one whose name has the dot" in said
    assert run.config.as_dict() == {
        "a.b": 1, "a": {"b": 4}, "c": {"d": 2}, "c.d": 6, "e.f": 3,
    }  # fmt: skip


def test_the_newest_rows_own_keys_can_be_read_from_the_summary(start, contents) -> None:
    run = start()
    assert "_step" not in run.summary
    run.log({"a": 1.0})
    run.log({"a": 2.0})
    run.log({"t": "text"}, step=7)
    row = contents(run.dir).rows[-1].header
    assert run.summary["_step"] == 7
    assert run.summary["_timestamp"] == row.timestamp
    assert run.summary["_runtime"] == row.runtime
    run.log({"a": 3.0})
    row = contents(run.dir).rows[-1].header
    assert [run.summary[k] for k in ("_step", "_timestamp", "_runtime")] == [
        8, row.timestamp, row.runtime,
    ]  # fmt: skip
    assert dict(run.summary) == {"a": 3.0, "t": "text"}


def test_the_summary_is_the_last_value_and_what_is_set_by_hand_wins(start, contents) -> None:
    run = start()
    run.log({"loss": 2.0, "np": np.float32(0.5)})
    run.log({"loss": 1.0})
    assert dict(run.summary) == {"loss": 1.0, "np": 0.5}
    run.summary["loss"] = 7
    run.summary.update({"best": {"acc": 0.9}})
    run.log({"loss": 0.5})
    assert dict(run.summary) == {"loss": 7, "np": 0.5, "best.acc": 0.9}
    assert run.summary["best"] == {"acc": 0.9}
    del run.summary["best.acc"]
    assert "best.acc" not in run.summary
    run.finish()
    sets = contents(run.dir).controls
    assert [[(i.key, i.removed) for i in s.items] for s in sets] == [
        [("loss", False)],
        [("best.acc", False)],
        [("best.acc", True)],
    ]
    assert [s.step for s in sets] == [1, 1, 2]


@pytest.mark.parametrize(
    ("summary", "goal", "expected"),
    [
        ("min", None, 1.0),
        ("max", None, 4.0),
        ("mean", None, 2.5),
        ("first", None, 3.0),
        ("last", None, 2.0),
        ("best", None, 1.0),
        ("best", "maximize", 4.0),
    ],
)
def test_definitions_and_globs_say_how_a_metric_is_summarised(
    start, summary, goal, expected
) -> None:
    run = start()
    run.define_metric("val/*", summary=summary, goal=goal)
    run.define_metric("hidden", summary="none")
    for value in (3.0, float("nan"), 1.0, 4.0, 2.0):
        run.log({"val/acc": value, "other": value, "hidden": 1})
    assert dict(run.summary) == {"val/acc": expected, "other": 2.0}


def test_each_of_several_summaries_stands_beside_the_last_value(start) -> None:
    run = start()
    definition = run.define_metric("a", summary="min, max,min,best", goal="maximize")
    assert definition.summary == "min,max,best"
    run.define_metric("none", summary="min,none")
    run.log({"a": 3.0, "b.min": 7, "none": 1})
    run.log({"a": 1.0})
    run.define_metric("b", summary="min,last")
    run.log({"a": 2.0, "b": 5})
    assert dict(run.summary) == {
        "a": 2.0, "a.min": 1.0, "a.max": 3.0, "a.best": 3.0, "b": 5, "b.last": 5, "b.min": 7,
    }  # fmt: skip # what was logged under such a name is not covered


def test_a_later_part_of_a_row_replaces_and_does_not_count_twice(start) -> None:
    run = start()
    run.define_metric("a", summary="mean")
    run.log({"a": 100.0}, step=0)
    run.log({"a": 1.0}, step=0)
    run.log({"a": 3.0}, step=1)
    assert run.summary["a"] == 2.0


def test_the_last_value_is_that_of_the_highest_step(start) -> None:
    run = start()
    run.log({"a": 1.0}, step=5)
    run.log({"a": 2.0}, step=3)
    assert run.summary["a"] == 1.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"summary": "median"},
        {"summary": "min,median"},
        {"goal": "up"},
        {"step_metric": 3},
        {"step_metric": "a*"},
    ],
)
def test_a_definition_that_cannot_be_is_a_mistake(start, arguments) -> None:
    with pytest.raises(UsageError, match=r"kelt\.define_metric"):
        start().define_metric("a", **arguments)


# -- in-process branching -------------------------------------------------------------------------


def test_rewind_in_mid_run_goes_on_from_the_step_after(start, contents) -> None:
    run = start(config={"lr": 0.1})
    run.define_metric("late", summary="min")
    log_rows(run, 10)
    run.summary["by_hand"] = 1
    first = run.immutable_id
    run.rewind(4)
    assert run.step == 5
    assert run.immutable_id != first
    assert dict(run.summary) == {"a": 4.0}
    assert run.config.as_dict() == {"lr": 0.1}
    run.log({"a": -1.0})
    run.finish()
    found = contents(run.dir)
    assert found.steps == [*range(10), 5]
    assert not found.rows[-1].header.flags
    assert found.branches == [first] * 10 + [run.immutable_id]
    (rewind,) = found.rewinds
    assert (rewind.branch_id, rewind.point.branch_id, rewind.point.step) == (
        run.immutable_id,
        first,
        4,
    )


def test_rewinding_twice_leaves_the_branch_that_is_current(start, contents) -> None:
    run = start()
    log_rows(run, 10)
    run.rewind(7)
    log_rows(run, 5)
    second = run.immutable_id
    run.rewind(9)
    assert dict(run.summary) == {"a": 9.0}
    run.rewind(2)
    assert dict(run.summary) == {"a": 2.0}
    run.finish()
    assert contents(run.dir).rewinds[1].point.branch_id == second


def test_fork_in_mid_run_opens_a_second_run_and_leaves_the_first_open(start, contents) -> None:
    run = start(config={"lr": 0.1, "keep": 1})
    log_rows(run, 6)
    child = run.fork(3, config={"lr": 0.2}, name="child")
    assert kelt.run is child
    assert (child.step, dict(child.summary), child.config.as_dict()) == (
        4,
        {"a": 3.0},
        {"lr": 0.2, "keep": 1},
    )
    child.log({"a": 40.0})
    run.log({"a": 6.0})
    child.finish()
    assert kelt.run is run
    run.finish()
    opened = contents(child.dir).opened
    assert (opened.WhichOneof("origin"), opened.forked.branch_id, opened.forked.step) == (
        "forked",
        run.immutable_id,
        3,
    )
    assert contents(child.dir).steps == [4]
    assert contents(run.dir).steps == list(range(7))


@pytest.mark.parametrize("step", [-1, 6, 1.5, True, "3"])
def test_a_point_that_the_run_does_not_have_is_a_mistake(start, step) -> None:
    run = start()
    log_rows(run, 6)
    for branch in (run.rewind, run.fork):
        with pytest.raises(BranchPointError):
            branch(step)


def test_a_point_between_logged_steps_is_a_point(start) -> None:
    run = start()
    run.log({"a": 1.0}, step=10)
    run.log({"a": 2.0}, step=20)
    run.rewind(15)
    assert (run.step, run.summary["a"]) == (16, 1.0)


# -- between sessions, offline --------------------------------------------------------------------


def test_forks_rewinds_and_resumes_chain_offline_to_any_depth(start, contents) -> None:
    base = start(config={"lr": 1, "base": True})
    log_rows(base, 11)
    base.finish()
    fork = start(fork_from=f"{base.id}?_step=6", config={"lr": 2})
    assert (fork.step, dict(fork.summary), fork.config.as_dict()) == (
        7,
        {"a": 6.0},
        {"lr": 2, "base": True},
    )
    log_rows(fork, 3)
    fork.finish()
    second = start(fork_from=f"{fork.immutable_id}?_step=8", config={"own": 1})
    assert (second.step, second.config.as_dict()) == (9, {"lr": 2, "base": True, "own": 1})
    log_rows(second, 1, "b")
    second.finish()
    rewound = start(resume_from=f"{second.id}?_step=3", config={"more": 1})
    assert rewound.id == second.id
    assert rewound.immutable_id != second.immutable_id
    assert (rewound.step, dict(rewound.summary)) == (4, {"a": 3.0})
    assert rewound.config.as_dict() == {"lr": 2, "base": True, "own": 1, "more": 1}
    log_rows(rewound, 2)
    rewound.finish()
    resumed = start(id=second.id, resume="must")
    assert resumed.immutable_id == rewound.immutable_id
    assert resumed.step == 6
    assert resumed.name == second.name
    assert dict(resumed.summary) == {"a": 5.0}
    resumed.log({"a": 0.0})
    resumed.finish()
    found = contents(resumed.dir)
    assert found.steps == [6]
    assert (found.opened.resumed.last_step, found.opened.resumed.mode) == (5, "must")
    assert not found.opened.resumed.point_unknown
    assert contents(base.dir).steps == list(range(11))
    assert contents(rewound.dir).opened.rewound.branch_id == second.immutable_id


def test_a_fork_keeps_its_parents_definitions_from_the_first_row(start) -> None:
    base = start()
    base.define_metric("a", summary="max")
    for value in (5.0, 1.0, 9.0):
        base.log({"a": value})
    base.finish()
    fork = start(fork_from=f"{base.id}?_step=1")
    fork.log({"a": 2.0})
    assert fork.summary["a"] == 5.0
    fork.log({"a": 7.0})
    assert fork.summary["a"] == 7.0


def test_an_open_run_of_this_process_can_be_forked_by_id(start) -> None:
    base = start()
    log_rows(base, 5)
    fork = start(fork_from=f"{base.id}?_step=4")
    assert (fork.step, dict(fork.summary)) == (5, {"a": 4.0})
    with pytest.raises(BranchPointError, match="ends at step 4; choose a step from 0 to 4"):
        start(fork_from=f"{base.id}?_step=5")


def test_a_fork_with_the_parents_own_id_is_a_mistake(start) -> None:
    base = start(id="base")
    log_rows(base, 2)
    base.finish()
    with pytest.raises(UsageError, match="use resume_from to rewind"):
        start(id="base", fork_from="base?_step=1")
    with pytest.raises(UsageError, match="a rewind keeps the run id"):
        start(id="other", resume_from="base?_step=1")
    with pytest.raises(UsageError, match="only one of"):
        start(id="base", resume="allow", fork_from="base?_step=1")


def test_a_parent_that_is_not_known_offline_needs_only_its_step(start, contents) -> None:
    run = start(fork_from="elsewhere?_step=200")
    run.log({"a": 1.0})
    run.finish()
    point = contents(run.dir).opened.forked
    assert (point.run_id, point.branch_id, point.step, contents(run.dir).steps) == (
        "elsewhere",
        "",
        200,
        [201],
    )


def test_a_resumed_run_that_is_not_known_offline_counts_from_its_end(start, contents) -> None:
    run = start(id="elsewhere", resume="allow")
    log_rows(run, 2)
    with pytest.raises(BranchPointError, match="not known here"):
        run.rewind(0)
    run.finish()
    again = start(id="elsewhere", resume="allow")
    assert again.immutable_id == run.immutable_id
    again.log({"a": 1.0})
    again.finish()
    first, second = contents(run.dir), contents(again.dir)
    assert first.opened.resumed.point_unknown
    assert [(r.header.step, r.header.flags) for r in first.rows + second.rows] == [
        (0, 1),
        (1, 1),
        (2, 1),
    ]


def test_a_run_id_that_was_used_is_warned_of_and_the_new_run_takes_the_name(
    start, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("KELT_SILENT", "0")
    first = start(id="same")
    log_rows(first, 3)
    first.finish()
    second = start(id="same")
    assert second.immutable_id != first.immutable_id
    assert (
        f"archived as {first.immutable_id}; to go on with it instead, pass resume='allow'"
        in capsys.readouterr().err
    )
    second.log({"a": 1.0})
    second.finish()
    assert start(id="same", resume="must").immutable_id == second.immutable_id


def test_resume_never_refuses_a_run_that_exists(start) -> None:
    start(id="same").finish()
    with pytest.raises(RunIdInUseError, match="choose another id"):
        start(id="same", resume="never")
    with pytest.raises(UsageError, match="needs the id"):
        start(resume="must")


def test_resume_auto_finds_the_last_run_that_did_not_finish(start, run_script) -> None:
    code = "import kelt, os, signal\nrun = kelt.init('p', resume='auto')\nkelt.log({'a': 1})\nprint(run.id, flush=True)\n"
    killed = run_script(code + "os.kill(os.getpid(), signal.SIGKILL)")
    resumed = run_script(code)
    fresh = run_script(code)
    assert killed.stdout == resumed.stdout
    assert fresh.stdout != resumed.stdout
    with_id = start(id=killed.stdout.strip(), resume="must")
    assert with_id.step == 2


def test_a_run_that_was_killed_is_resumed_with_every_row_it_logged(start, run_script) -> None:
    script = "import kelt, os, signal\nrun = kelt.init('p', id='k', config={'c': 1})\nfor i in range(5000): kelt.log({'a': i})\nos.kill(os.getpid(), signal.SIGKILL)"
    assert run_script(script).returncode == -9
    run = start(id="k", resume="must")
    assert (run.step, run.summary["a"], run.config.as_dict()) == (5000, 4999, {"c": 1})


def test_damaged_notes_of_this_host_are_as_if_unknown(start, kelt_dir) -> None:
    run = start(id="x")
    run.finish()
    for path in (kelt_dir / "branches").glob("*.json"):
        path.write_text("{")
    assert start(id="x").step == 0


# -- messages --------------------------------------------------------------------------------------


def test_start_and_finish_say_where_things_are(start, monkeypatch, capsys) -> None:
    monkeypatch.setenv("KELT_SILENT", "0")
    run = start(name="my run")
    for i in range(30):
        run.log({"loss": 1.0 / (i + 1)})
    run.finish()
    said = capsys.readouterr()
    assert said.out == ""
    assert "\x1b" not in said.err
    assert f"kelt: run my run ({run.id}) in project p" in said.err
    assert f"kelt sync {run.dir}" in said.err
    assert "loss  █" in said.err
    assert said.err.endswith(
        f"kelt: run={run.id} project=p state=finished rows=30 lost=0 synced=later\n"
    )


def test_silent_says_nothing(start, capsys) -> None:
    start().finish()
    assert capsys.readouterr().err == ""


def test_importing_kelt_loads_the_standard_library_alone() -> None:
    code = "import sys, kelt; print([m for m in ('grpc', 'google', 'numpy', 'httpx', 'rich', 'orjson', 'anyio', 'typer') if m in sys.modules])"
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_run_that_another_process_writes_is_named_with_that_process(
    start, run_script, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("KELT_SILENT", "0")
    holder = (
        "import kelt, os, sys, subprocess\n"
        "run = kelt.init('p', id='taken', settings={'silent': True})\nrun.log({'a': 1})\n"
        "code = \"import kelt; kelt.init('p', id='taken')\"\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\nprint(os.getpid())"
    )
    done = run_script(holder)
    pid, host = int(done.stdout), os.uname().nodename
    said = f"process {pid} on {host} is writing run 'taken'"
    assert f"{said} and goes on under " in done.stderr
    start(id="own")
    start(id="own")
    assert "this process is writing run 'own'" in capsys.readouterr().err


def test_a_run_resumed_while_another_process_writes_it_is_named_likewise(
    run_script, monkeypatch
) -> None:
    monkeypatch.setenv("KELT_SILENT", "0")
    holder = (
        "import kelt, os, sys, subprocess\n"
        "run = kelt.init('p', id='taken', settings={'silent': True})\nrun.log({'a': 1})\n"
        "code = \"import kelt; kelt.init('p', id='taken', resume='allow')\"\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\nprint(os.getpid())"
    )
    done = run_script(holder)
    assert f"process {int(done.stdout)} on " in done.stderr
    assert "is writing run 'taken' too" in done.stderr
