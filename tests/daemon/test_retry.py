"""Waiting between tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kelt_daemon.retry import Backoff, Breaker, Retries, RetryBudget

FIRST = Backoff(min_s=0.5, max_s=30.0)


def after(failures: int) -> Backoff:
    backoff = FIRST
    for _ in range(failures):
        backoff = backoff.failed()
    return backoff


def test_the_bound_doubles_up_to_the_longest_wait():
    assert [after(n).bound_s for n in (1, 2, 3, 6, 7, 1000)] == [0.5, 1, 2, 16, 30, 30]


def test_a_success_starts_anew():
    assert after(5).succeeded() == FIRST


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_a_share_of_the_bound(failures, chance):
    backoff = after(min(failures, 40))
    assert 0 <= backoff.delay_s(chance=chance) <= backoff.bound_s
    assert backoff.delay_s(chance=0.5) == backoff.bound_s / 2


@given(st.floats(-10, 1e6), st.floats(0, 1, exclude_max=True))
def test_what_the_upstream_asked_for_is_the_least_up_to_ten_minutes(asked_s, chance):
    asked_for_s = min(max(asked_s, 0.0), 600.0)
    delay_s = after(1).delay_s(chance=chance, retry_after_s=asked_s)
    assert asked_for_s <= delay_s <= asked_for_s + 0.5


def test_a_breaker_opens_after_so_many_errors_in_a_row():
    breaker = Breaker(failures_max=3)
    for _ in range(2):
        breaker = breaker.failed()
    assert not breaker.is_open
    assert not breaker.succeeded().failed().is_open
    assert breaker.failed().is_open


@given(st.lists(st.booleans(), max_size=2000))
def test_repetitions_are_a_tenth_of_what_works_after_the_reserve(calls_work):
    budget = RetryBudget.full(share=0.1, reserve=10.0)
    worked = repeated = 0
    for works in calls_work:
        if works:
            budget, worked = budget.earned(), worked + 1
        elif not budget.is_empty:
            budget, repeated = budget.spent(), repeated + 1
        assert repeated <= 10 + worked / 10 + 1e-6


def test_a_budget_that_is_spent_comes_back_with_calls_that_work():
    budget = RetryBudget.full(share=0.1, reserve=2.0).spent().spent()
    assert budget.is_empty
    for _ in range(11):
        budget = budget.earned()
    assert not budget.is_empty


def test_what_fails_in_a_row_is_tried_ever_later_and_soon_again_once_it_was_well():
    retries: Retries[str] = Retries(min_s=1.0, max_s=8.0)
    now_s, waits_s = 100.0, []
    for _ in range(5):
        retries.failed("r", now_s=now_s)
        assert "r" in retries
        assert not retries.take("r", now_s=now_s)
        waits_s.append(retries.next_s - now_s)
        now_s = retries.next_s
        assert retries.due(now_s=now_s) == ["r"]
        assert retries.take("r", now_s=now_s)
        assert retries.next_s is None
    assert waits_s == [1.0, 2.0, 4.0, 8.0, 8.0]
    now_s += 8.0
    retries.failed("r", now_s=now_s)
    assert retries.next_s == now_s + 1.0
    retries.failed("r", now_s=now_s, wait_s=0.5)
    assert retries.next_s == now_s + 0.5
    retries.forget("r")
    assert "r" not in retries
