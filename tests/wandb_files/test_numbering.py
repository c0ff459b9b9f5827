"""Numbers follow W&B's own count, as far as it can be believed."""

import pytest

from kelt.wandb_files.numbering import Numbering


@pytest.fixture
def numbering():
    made = Numbering()
    made.start(2)  # of the first `run` record, behind the header
    return made


def placed(numbering, *nums):
    """For each count the record's number, and how many are missing before it."""
    found = []
    for num in nums:
        missing = numbering.place(num)
        found.append((numbering.last_seq, missing))
    return found


def test_numbers_follow_the_order(numbering):
    assert placed(numbering, 3, 4, 5) == [(3, 0), (4, 0), (5, 0)]


def test_what_damage_took_is_known_by_the_count_behind_it(numbering):
    numbering.place(3)
    numbering.damage(500)
    assert placed(numbering, 10, 11) == [(10, 6), (11, 0)]


def test_damage_that_took_nothing_costs_nothing(numbering):
    numbering.damage(30_000)
    assert placed(numbering, 3) == [(3, 0)]


@pytest.mark.parametrize("num", [0, 1, 1_000_000])
def test_a_count_that_cannot_be_makes_damage_one_record(numbering, num):
    numbering.damage(500)
    assert placed(numbering, num) == [(4, 1)]


def test_a_count_that_jumps_without_damage_is_not_believed(numbering):
    assert placed(numbering, 3, 9, 0, 0, 4) == [(3, 0), (4, 0), (5, 0), (6, 0), (7, 0)]
