from __future__ import annotations

import math

import pytest

from kelt.cli.wording import age, count, plain, shown, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0.4, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (7200, "2h"),
        (86400 * 400, "400d"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_ages_take_the_largest_unit_that_fits(seconds, text):
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**3, "5.0 GiB")],
)
def test_sizes_have_binary_units(number, text):
    assert size(number) == text


def test_one_is_singular():
    assert (count(1, "row"), count(0, "row"), count(12345, "row")) == (
        "1 row",
        "0 rows",
        "12,345 rows",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1.0"),
        (0.1234567, "0.123457"),
        (1e30, "1e+30"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (True, "True"),
        (None, "None"),
        ([1, "é"], '[1, "é"]'),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\ud800", "\\ud800"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_values_are_shown_on_one_line_with_their_type_visible(value, text):
    assert shown(value) == text


def test_what_others_wrote_cannot_steer_the_terminal():
    assert plain("name\x1b]0;owned\x07\r\n\u202eé") == "name\\x1b]0;owned\\x07\\r\\n\\u202eé"
