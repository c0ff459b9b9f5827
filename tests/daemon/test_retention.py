"""Choosing what of the journals to delete."""

from __future__ import annotations

from kelt_daemon.retention import Kept, choose

DAY = 86400.0


def chosen(*kept: Kept, total: int, most: int) -> list[int]:
    return choose(kept, now=100 * DAY, age_s=7 * DAY, total_bytes=total, bytes_max=most)


def test_what_is_old_goes_and_what_is_new_stays_while_there_is_room():
    old, new = Kept(1, 90 * DAY, 10), Kept(2, 99 * DAY, 10)
    assert chosen(new, old, total=20, most=100) == [1]


def test_past_the_limit_the_oldest_goes_first_and_no_more_than_needed():
    kept = [Kept(i, (95 + i) * DAY, 40) for i in range(4)]
    assert chosen(*kept, total=160, most=100) == [0, 1]


def test_what_cannot_be_deleted_counts_but_costs_no_more_than_all_the_rest():
    assert chosen(Kept(1, 99 * DAY, 10), total=1000, most=100) == [1]
    assert chosen(total=1000, most=100) == []
