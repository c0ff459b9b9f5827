"""Numbers follow W&B's own count, as far as it can be believed."""

import pytest

from kelt.wandb_files.numbering import Numbering, Place


@pytest.fixture
def numbering():
    made = Numbering()
    made.start(2)  # of the first `run` record, behind the header
    return made


def test_numbers_follow_the_order(numbering):
    assert [numbering.place(num) for num in (3, 4, 5)] == [Place(3), Place(4), Place(5)]


def test_what_damage_took_is_known_by_the_count_behind_it(numbering):
    numbering.place(3)
    numbering.damage(500)
    assert numbering.place(10) == Place(10, missing=6)
    assert numbering.place(11) == Place(11)


def test_damage_that_took_nothing_costs_nothing(numbering):
    numbering.damage(30_000)
    assert numbering.place(3) == Place(3)


@pytest.mark.parametrize("num", [0, 1, 1_000_000])
def test_a_count_that_cannot_be_makes_damage_one_record(numbering, num):
    numbering.damage(500)
    assert numbering.place(num) == Place(4, missing=1)


def test_a_count_that_jumps_without_damage_is_not_believed(numbering):
    assert [numbering.place(num).seq for num in (3, 9, 0, 0, 4)] == [3, 4, 5, 6, 7]
