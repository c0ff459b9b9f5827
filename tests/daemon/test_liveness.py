"""The state machine of a writer's life."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt_daemon.liveness import ExitStatus, Facts, Goodbye, Life, Phase, Process, judge

GONE = Facts(at=100.0, monotonic_s=10.0, process=Process.GONE, is_spool_read=True)


def end_of(facts: Facts) -> Life:
    verdict = judge(Life(), facts, stalled_after_s=60)
    assert verdict.is_asserted
    return verdict.life


@pytest.mark.parametrize(
    ("facts", "phase", "reason"),
    [
        (replace(GONE, status=ExitStatus(0, 9)), Phase.CRASHED, "killed by SIGKILL (signal 9)"),
        (replace(GONE, status=ExitStatus(0, 11)), Phase.CRASHED, "killed by SIGSEGV (signal 11)"),
        (replace(GONE, status=ExitStatus(0, 63)), Phase.CRASHED, "killed by signal 63"),
        (
            replace(GONE, status=ExitStatus(3, 0)),
            Phase.FAILED,
            "exited with code 3 without saying so",
        ),
        (
            replace(GONE, status=ExitStatus(0, 0)),
            Phase.FINISHED,
            "exited with code 0 without saying so",
        ),
        (
            GONE,
            Phase.CRASHED,
            "the process is gone without a word, and how it ended is not known",
        ),
        (
            replace(GONE, was_rebooted=True),
            Phase.CRASHED,
            "the host was rebooted or lost power while the run was open",
        ),
        (
            replace(GONE, status=ExitStatus(0, 9), ran_out_of_memory=True),
            Phase.CRASHED,
            (
                "killed by SIGKILL (signal 9), probably by the kernel because the host or its group "
                "ran out of memory"
            ),
        ),
    ],
)
def test_a_death_without_a_word_is_named_by_what_the_kernel_told(facts, phase, reason):
    life = end_of(facts)
    assert (life.phase, life.reason, life.at) == (phase, reason, 100.0)


def test_running_out_of_memory_does_not_explain_another_signal():
    facts = replace(GONE, status=ExitStatus(0, signal.SIGSEGV), ran_out_of_memory=True)
    assert "memory" not in end_of(facts).reason


def test_a_death_is_not_judged_before_the_spool_is_read():
    verdict = judge(Life(), replace(GONE, is_spool_read=False), stalled_after_s=60)
    assert verdict.life.phase is Phase.RUNNING
    assert not verdict.is_asserted


@pytest.mark.parametrize(
    ("goodbye", "phase"),
    [
        (Goodbye(0, 0, "", 50.0), Phase.FINISHED),
        (Goodbye(1, 0, "ValueError: no", 50.0), Phase.FAILED),
        (Goodbye(143, 15, "SIGTERM", 50.0), Phase.FAILED),
    ],
)
def test_the_writers_own_word_beats_what_is_observed_and_needs_no_assertion(goodbye, phase):
    facts = replace(GONE, status=ExitStatus(0, 9), goodbye=goodbye)
    verdict = judge(Life(), facts, stalled_after_s=60)
    assert (verdict.life.phase, verdict.life.reason) == (phase, goodbye.reason)
    assert verdict.life.at == 50.0
    assert not verdict.is_asserted


def test_nobody_judges_a_writer_of_another_machine():
    facts = replace(GONE, is_on_this_machine=False, was_rebooted=True)
    assert judge(Life(), facts, stalled_after_s=60).life.phase is Phase.RUNNING


def test_a_beat_that_stands_still_is_a_stall_and_moves_back_when_it_goes_on():
    life = Life()
    said = []
    for second, beat in [(0, 1), (50, 1), (55, 1), (61, 1), (66, 1), (70, 2), (75, 3)]:
        facts = Facts(at=1000.0 + second, monotonic_s=float(second), beat=beat)
        verdict = judge(life, facts, stalled_after_s=60)
        life = verdict.life
        if verdict.is_asserted:
            said.append((second, life.phase))
    assert said == [(61, Phase.STALLED), (70, Phase.RUNNING)]


def test_one_look_after_a_pause_of_the_host_is_no_stall():
    life = judge(Life(), Facts(at=0, monotonic_s=0, beat=1), stalled_after_s=60).life
    verdict = judge(life, Facts(at=900, monotonic_s=900, beat=1), stalled_after_s=60)
    assert verdict.life.phase is Phase.RUNNING


FACTS = st.builds(
    Facts,
    at=st.floats(0, 1e9),
    monotonic_s=st.floats(0, 1e6),
    is_on_this_machine=st.booleans(),
    was_rebooted=st.booleans(),
    process=st.sampled_from(Process),
    status=st.none() | st.builds(ExitStatus, st.integers(0, 255), st.integers(0, 64)),
    beat=st.none() | st.integers(0, 3),
    is_spool_read=st.booleans(),
    goodbye=st.none() | st.just(Goodbye(0, 0, "", 1.0)),
    ran_out_of_memory=st.booleans(),
)


@given(st.lists(FACTS, max_size=20))
def test_an_ended_state_is_final_and_death_is_asserted_once_and_only_on_proof(history):
    life, asserted_ends = Life(), 0
    for facts in history:
        verdict = judge(life, facts, stalled_after_s=60)
        if life.phase.is_ended:
            assert verdict.life == life
            assert not verdict.is_asserted
        if verdict.is_asserted and verdict.life.phase.is_ended:
            asserted_ends += 1
            assert facts.is_on_this_machine
            assert facts.was_rebooted or facts.process is Process.GONE
            assert facts.goodbye is None
        life = verdict.life
    assert asserted_ends <= 1
