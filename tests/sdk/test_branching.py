from __future__ import annotations

import pytest

from kelt.branching import Point, check_exclusive, check_within, parse_point
from kelt.errors import BranchPointError, UsageError


def test_a_point_is_a_run_and_a_step() -> None:
    assert parse_point("abc?_step=200", "fork_from") == Point("abc", 200)
    assert parse_point("abc?_step=0", "fork_from") == Point("abc", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", r"names no step; write it as 'abc\?_step=N'"),
        ("abc?", "names no step"),
        ("?_step=3", "names no run"),
        ("abc?epoch=3", "uses the axis 'epoch'; only '_step' can be used"),
        ("abc?_step=x", "the step 'x' is not a whole number"),
        ("abc?_step=1.5", "the step '1.5' is not a whole number"),
        ("abc?_step=-1", "must be 0 or more"),
        (f"abc?_step={2**63}", "at most"),
        (7, "must be a text such as 'ID\\?_step=200', not int"),
    ],
)
def test_a_malformed_point_says_what_is_wrong_and_what_would_do(text, message) -> None:
    with pytest.raises(BranchPointError, match=message):
        parse_point(text, "fork_from")


def test_a_point_beyond_the_end_names_the_end() -> None:
    check_within(41, 41, "fork_from='a?_step=41'")
    with pytest.raises(BranchPointError, match=r"ends at step 41; choose a step from 0 to 41"):
        check_within(42, 41, "fork_from='a?_step=42'")
    with pytest.raises(BranchPointError, match="has no rows yet"):
        check_within(0, -1, "fork_from='a?_step=0'")


def test_ways_of_going_on_exclude_each_other() -> None:
    check_exclusive(resume=None, fork_from="a", resume_from=None)
    with pytest.raises(UsageError, match="got resume and fork_from"):
        check_exclusive(resume="allow", fork_from="a", resume_from=None)
    with pytest.raises(UsageError, match="got fork_from and resume_from"):
        check_exclusive(resume=None, fork_from="a", resume_from="b")
