"""`--live` of what others are still writing, pass by pass."""

from dataclasses import replace
from pathlib import Path

import pytest

from kelt.syncing.engine import SyncPlan
from kelt.syncing.following import follow
from kelt.syncing.outcome import SyncedRun, SyncResult
from kelt.syncing.survey import RunOnDisk

FILE, OTHER, NATIVE = Path("/w/run-r1.wandb"), Path("/w/run-r2.wandb"), Path("/k/r3")


class Bench:
    """A file that ends after some looks, a daemon that sends what there is, and a clock."""

    def __init__(self, *, looks, pass_s=1.0):
        self.now_s, self.slept, self.plans = 0.0, [], []
        self.looks, self.pass_s = looks, pass_s
        self.results = []

    def run(self, path, state="running"):
        wandb_file = None if path == NATIVE else path
        return RunOnDisk(path=path, run_id=path.name, state=state, wandb_file=wandb_file)

    def look(self, run):
        self.looks -= 1
        return replace(run, state="running" if self.looks > 0 else "finished")

    def send(self, plan):
        self.plans.append((plan.live, [run.path for run in plan.runs]))
        self.now_s += self.pass_s
        if self.results:
            return self.results.pop(0)
        runs = [SyncedRun(path=run.path, sent=10, rows=9, is_synced=True) for run in plan.runs]
        return SyncResult(runs=tuple(runs))

    def follow(self, *runs):
        return follow(
            SyncPlan(runs=runs, live=True),
            send=self.send, look=self.look, clock=lambda: self.now_s, sleep=self.sleep,
        )  # fmt: skip

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += seconds


def test_a_file_is_sent_until_it_has_ended_and_the_passes_are_added_up():
    bench = Bench(looks=2)
    result = bench.follow(bench.run(FILE), bench.run(OTHER, "finished"))
    assert bench.plans == [(False, [FILE, OTHER]), (False, [FILE]), (False, [FILE]), (True, [])]
    assert {run.path: (run.sent, run.rows) for run in result.runs} == {
        FILE: (30, 27),
        OTHER: (10, 9),
    }
    assert result.is_complete


def test_the_rest_grows_with_what_a_pass_costs():
    bench = Bench(looks=1, pass_s=30.0)
    bench.follow(bench.run(FILE))
    assert bench.slept == [120.0]


def test_kelts_own_runs_are_followed_by_the_daemon_when_all_else_has_ended():
    bench = Bench(looks=1)
    result = bench.follow(bench.run(NATIVE), bench.run(FILE))
    assert bench.plans == [(False, [FILE]), (False, [FILE]), (True, [NATIVE])]
    assert len(result.runs) == 2


def test_an_upstream_out_of_reach_is_waited_for():
    bench = Bench(looks=1)
    away = SyncedRun(path=FILE, error="away")
    bench.results = [SyncResult(runs=(away,), error="away", is_unreachable=True)]
    result = bench.follow(bench.run(FILE))
    assert len(bench.plans) == 3
    assert result.is_complete


@pytest.mark.parametrize("during", ["a pass", "a rest"])
def test_an_interrupt_ends_it_and_tells_what_was_sent(during):
    bench = Bench(looks=100)
    sent = (SyncedRun(path=FILE, sent=5, rows=5, is_synced=True),)
    if during == "a pass":
        bench.results = [SyncResult(runs=sent), SyncResult(runs=sent, is_interrupted=True)]
    else:
        bench.results = [SyncResult(runs=sent), SyncResult(runs=sent)]
        bench.sleep = lambda _: bench.slept.append(0) or _interrupt(bench)
    result = bench.follow(bench.run(FILE))
    assert result.is_interrupted
    assert (result.records_sent, len(bench.plans)) == (10, 2)


def _interrupt(bench):
    if len(bench.slept) == 2:
        raise KeyboardInterrupt


def test_a_run_that_could_not_be_sent_is_told_at_the_end():
    bench = Bench(looks=1)
    bench.results = [SyncResult(runs=(SyncedRun(path=OTHER, error="broken"),), error="1 run")]
    result = bench.follow(bench.run(FILE), bench.run(OTHER, "finished"))
    assert "1 of 2 could not be sent" in result.error
