"""Who a writer of a shared run is, and where it begins: decided before anything is written."""

import fcntl
import os
from pathlib import Path

import pytest

import kelt
from kelt.errors import BranchPointError, SettingsError, UsageError
from kelt.local_history import LocalHistory
from kelt.local_runs import ElsewhereState, LocalRuns
from kelt.names import shared_branch_id
from kelt.origins.finding import find_origin
from kelt.origins.known_runs import KnownRuns
from kelt.origins.remote import RemoteRun
from kelt.settings import load_settings
from kelt.shared_mode import SharedWriter, decide_primary, label_of, let_go, require_alone


def settings_of(tmp_path, environ=None, **given):
    environ = {"KELT_CONFIG": os.devnull, "KELT_DIR": str(tmp_path / "state"), **(environ or {})}
    return load_settings({"run_id": "r", **given}, environ)


@pytest.fixture
def primary(tmp_path):
    """Decides as a process of the same host would, and keeps what it holds until the end."""
    held = []

    def decide(environ=None, **given):
        settings = settings_of(tmp_path, mode="shared", **given)
        found = decide_primary(settings, environ or {}, tmp_path / "hold")
        held.append(found.hold_fd)
        return found

    yield decide
    for fd in held:
        let_go(fd)


@pytest.mark.parametrize(
    ("environ", "given", "mode", "shared"),
    [
        ({}, {"mode": "shared"}, "online", True),
        ({"KELT_MODE": "shared"}, {}, "online", True),
        ({"KELT_MODE": "offline"}, {"mode": "shared"}, "offline", True),
        ({"KELT_MODE": "disabled"}, {"mode": "shared"}, "disabled", True),
        ({"KELT_MODE": "shared"}, {"mode": "offline"}, "offline", False),
        ({"KELT_MODE": "shared"}, {"mode": "online"}, "online", False),
    ],
)
def test_shared_says_how_a_run_is_written_and_not_how_it_travels(
    tmp_path, environ, given, mode, shared
):
    found = settings_of(tmp_path, environ, **given)
    assert (found.mode, found.shared) == (mode, shared)


def test_label_and_primary_come_from_the_environment_too(tmp_path):
    found = settings_of(tmp_path, {"KELT_LABEL": "gpu 3", "KELT_PRIMARY": "false"})
    assert (found.label, found.primary) == ("gpu 3", False)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"RANK": "2", "SLURM_PROCID": "5"}, "rank_2"),
        ({"SLURM_PROCID": "5"}, "rank_5"),
        ({"RANK": "none"}, f"{os.uname().nodename}-{os.getpid()}"),
    ],
    ids=["torchrun", "slurm", "neither"],  # a process's number is no name for test workers
)
def test_a_writer_without_a_label_is_called_by_rank_or_process(tmp_path, environ, expected):
    assert label_of(settings_of(tmp_path), environ) == expected
    assert label_of(settings_of(tmp_path, label="mine"), environ) == "mine"


def test_rank_zero_is_primary_and_other_ranks_are_not(primary):
    assert not primary({"RANK": "1"}).is_primary
    assert primary({"RANK": "0"}).is_primary


def test_what_a_writer_was_told_beats_its_rank(primary):
    assert not primary({"RANK": "0"}, primary=False).is_primary
    assert primary({"RANK": "3"}, primary=True).is_primary


def test_of_those_that_were_told_nothing_only_the_first_on_a_host_is_primary(primary):
    first = primary()
    assert first.is_primary
    assert [primary().is_primary, primary({"RANK": "0"}).is_primary] == [False, False]
    fcntl.flock(first.hold_fd, fcntl.LOCK_UN)  # as the end of its process does
    assert primary().is_primary


def test_a_second_that_was_told_so_is_primary_and_warned(primary):
    assert not primary(primary=True).warning
    second = primary(primary=True)
    assert second.is_primary
    assert "the newest holds the run's state" in second.warning


def test_the_branch_of_a_name_is_the_same_everywhere_and_of_no_other_name():
    # For ever: what an older kelt wrote on one host is joined with what a newer one writes.
    assert shared_branch_id("", "p", "r") == "lj0i4o5caksgc7etpp1q"
    ids = {
        shared_branch_id(*name)
        for name in [
            ("", "p", "r"),
            ("e", "p", "r"),
            ("", "pr", ""),
            ("", "p", "r2"),
            ("p", "", "r"),
        ]
    }
    assert len(ids) == 5
    assert all(len(found) == 20 and found.isalnum() for found in ids)


def test_only_a_primary_that_is_alone_may_rewind():
    lead, other = (
        SharedWriter(label="a", is_primary=True),
        SharedWriter(label="b", is_primary=False),
    )
    require_alone("run.rewind(1)", lead, [])
    with pytest.raises(BranchPointError, match="only the primary"):
        require_alone("run.rewind(1)", other, [])
    with pytest.raises(BranchPointError, match="b on this host"):
        require_alone("run.rewind(1)", lead, ["b on this host"])


def test_wandbs_names_of_the_settings_are_understood():
    given = kelt.Settings(x_label="rank_1", x_primary=False, mode="shared")
    assert given == {"x_label": "rank_1", "x_primary": False, "mode": "shared"}
    with pytest.raises(SettingsError, match="no setting 'x_lable'"):
        kelt.Settings(x_lable="rank_1")
    with pytest.raises(SettingsError, match="contradict"):
        kelt.Settings(x_primary=True, x_update_finish_state=False)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("KELT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KELT_CONFIG", os.devnull)
    monkeypatch.setenv("KELT_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KELT_MODE", "offline")
    monkeypatch.setenv("KELT_SILENT", "1")


@pytest.mark.usefixtures("offline")
def test_a_shared_run_needs_the_id_that_all_writers_name():
    with pytest.raises(UsageError, match="pass id="):
        kelt.init("p", mode="shared")
    with pytest.raises(UsageError, match="resume='never'"):
        kelt.init("p", id="r", mode="shared", resume="never")
    assert kelt.run is None


@pytest.mark.usefixtures("offline")
def test_writers_in_one_process_share_the_branch_and_count_their_own_steps():
    first = kelt.init("p", id="r", settings={"mode": "shared", "x_label": "a"})
    second = kelt.init("p", id="r", mode="shared", label="b", reinit="create_new")
    try:
        assert first.immutable_id == second.immutable_id == shared_branch_id("", "p", "r")
        assert [run.is_primary for run in (first, second)] == [True, False]
        for _ in range(3):
            first.log({"x": 1})
        assert (first.step, second.step) == (3, 0)
        with pytest.raises(BranchPointError, match="b on this host"):
            first.rewind(1)
        second.log({"x": 2})
        with pytest.raises(BranchPointError, match="only the primary"):
            second.rewind(0)
        with pytest.raises(UsageError, match=r"\(a on this host, b on this host\)"):
            kelt.init("p", id="r", reinit="create_new")
        second.finish()
        first.rewind(1)
        assert first.immutable_id != shared_branch_id("", "p", "r")
        third = kelt.init("p", id="r", mode="shared", label="c", reinit="create_new")
        assert third.immutable_id == first.immutable_id
        third.finish()
    finally:
        second.finish()
        first.finish()


@pytest.mark.usefixtures("offline")
def test_a_writer_that_resumes_counts_from_the_end_of_the_run_as_this_host_knows_it():
    for label, rows in (("a", 7), ("b", 3)):
        run = kelt.init("p", id="r", mode="shared", label=label)
        for _ in range(rows):
            run.log({"x": 1})
        run.finish()
    again = kelt.init("p", id="r", mode="shared", label="a", resume="must")
    assert (again.step, again.immutable_id) == (7, shared_branch_id("", "p", "r"))
    again.finish()


@pytest.mark.usefixtures("offline")
def test_an_ordinary_session_that_resumes_a_run_which_others_write_is_warned(monkeypatch, capsys):
    run = kelt.init("p", id="r", mode="shared", label="a")
    monkeypatch.delenv("KELT_SILENT")
    ordinary = kelt.init("p", id="r", resume="allow", reinit="create_new")
    assert "being written by others at this time (a on this host)" in capsys.readouterr().err
    ordinary.finish()
    run.finish()
    kelt.init("p", id="r", resume="allow").finish()
    assert "being written" not in capsys.readouterr().err


@pytest.mark.usefixtures("offline")
def test_a_fork_of_a_shared_writer_is_an_ordinary_run():
    run = kelt.init("p", id="r", mode="shared", label="a")
    for _ in range(3):
        run.log({"x": 1})
    fork = run.fork(1)
    assert (fork.shared, fork.step, fork.is_primary) == (False, 2, True)
    fork.finish()
    run.finish()


@pytest.mark.usefixtures("offline")
def test_writers_that_fork_the_same_point_share_the_new_branch():
    parent = kelt.init("p", id="old")
    for _ in range(5):
        parent.log({"x": 1})
    parent.finish()
    ids = set()
    for label in "ab":
        run = kelt.init("p", id="new", mode="shared", label=label, fork_from="old?_step=3")
        assert run.step == 4
        ids.add(run.immutable_id)
        run.finish()
    assert ids == {shared_branch_id("", "p", "new")}
    with pytest.raises(UsageError, match="exists already"):
        kelt.init("p", id="old", mode="shared", fork_from="new?_step=3")


@pytest.mark.usefixtures("offline")
def test_a_writer_that_joins_a_shared_fork_leaves_what_is_known_of_it():
    parent = kelt.init("p", id="old", config={"lr": 1})
    for _ in range(5):
        parent.log({"x": 1})
    parent.finish()
    kelt.init("p", id="new", mode="shared", name="nice", fork_from="old?_step=3").finish()
    kelt.init("p", id="new", mode="shared", label="b").finish()
    again = kelt.init("p", id="new", mode="shared", label="c", resume="must")
    assert (again.step, again.name, dict(again.config)) == (4, "nice", {"lr": 1})
    again.finish()


@pytest.mark.usefixtures("offline")
def test_a_start_that_was_interrupted_holds_no_primacy(monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kelt.starting.open_session", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kelt.init("p", id="r", mode="shared")
    run = kelt.init("p", id="r", mode="shared")
    assert run.is_primary
    run.finish()


def remote_run(branch_id, last_step):
    state = ElsewhereState(last_step=last_step, runtime=0.0, config={}, summary={})
    return RemoteRun(run_id="r", branch_id=branch_id, name="", state=state)


def known_runs(branches, **given):
    """With an upstream that knows these runs, by name or branch."""
    settings = load_settings({"project": "p", **given}, os.environ)
    local = LocalRuns(state_dir=settings.state_dir)
    return KnownRuns(
        settings=settings,
        local=local,
        history=LocalHistory(local=local),
        describe=lambda reference, _step: branches.get(reference),
        place=Path(),
    )


@pytest.mark.usefixtures("offline")
def test_what_other_hosts_wrote_after_a_rewind_is_asked_for():
    run = kelt.init("p", id="r", mode="shared", label="a")
    for _ in range(3):
        run.log({"x": 1})
    run.rewind(1)
    run.finish()
    branches = {"r": remote_run(run.immutable_id, 200)}
    resumed = find_origin(known_runs(branches, run_id="r", resume="must"))
    assert (resumed.branch.branch_id, resumed.steps.highest) == (run.immutable_id, 200)
    fork = find_origin(known_runs(branches), fork_from="r?_step=150")
    assert (fork.opening.point.branch_id, fork.opening.point.step) == (run.immutable_id, 150)


@pytest.mark.usefixtures("offline")
def test_a_branch_that_has_not_arrived_is_newer_than_what_the_upstream_says():
    run = kelt.init("p", id="r", mode="shared", label="a")
    for _ in range(3):
        run.log({"x": 1})
    run.finish()
    branches = {"r": remote_run("ordinary", 200)}
    resume = {"run_id": "r", "resume": "must"}
    assert find_origin(known_runs(branches, **resume)).branch.branch_id == run.immutable_id
    fork = find_origin(known_runs(branches), fork_from="r?_step=1")
    assert fork.opening.point.branch_id == run.immutable_id
    arrived = {**branches, run.immutable_id: remote_run(run.immutable_id, 2)}
    assert find_origin(known_runs(arrived, **resume)).branch.branch_id == "ordinary"
