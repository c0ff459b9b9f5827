"""A metric's course as one line of text."""

from __future__ import annotations

import math

from kelt.sparkline import Course, sparkline


def test_a_value_that_never_changes_is_a_flat_line() -> None:
    for value in (0.1, 1.5, 1e300, -7.3):
        for count in (1, 40, 129, 256):
            assert set(sparkline([value] * count)) == {"▁"}


def test_a_rise_goes_from_the_lowest_bar_to_the_highest() -> None:
    line = sparkline([float(n) for n in range(256)])
    assert line[0] == "▁"
    assert line[-1] == "█"
    assert list(line) == sorted(line)


def test_values_at_both_ends_of_what_a_float_holds_are_drawn() -> None:
    assert sparkline([-1.7e308, 1.7e308]) == "▁█"
    assert sparkline([-1.7e308, 1.7e308, 1.7e308, -1.7e308], width=1) == "▁"


def test_what_is_not_finite_is_a_gap() -> None:
    assert sparkline([1.0, math.nan, math.inf, 2.0]) == "▁··█"


def test_values_that_stand_for_others_have_as_many_places() -> None:
    course = Course(kept_max=8)
    for number in range(8):
        course.add(float(number))
    for number in range(8, 40, 2):
        course.add(float(number), 2)
    assert course.values == [0.0, 8.0, 16.0, 24.0, 32.0]
