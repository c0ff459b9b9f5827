"""The power is cut after every change to a run folder: what was acknowledged is there."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from harness.crash_histories import History, environment_number

#: Of one test; there are several, so that they can run side by side.
PARTS = 4
POINTS = environment_number("KELT_TORTURE_CRASH_POINTS", 50_000)
FIRST_SEED = environment_number("KELT_TORTURE_FIRST_SEED", 0)
POINTS_PER_HISTORY = 200


@pytest.mark.timeout(max(300, POINTS // 100))
@pytest.mark.parametrize("part", range(PARTS))
def test_what_was_acknowledged_survives_every_cut_of_the_power(part, record_faults, capsys):
    goal = -(-POINTS // PARTS)
    points = holes = second_cuts = histories = 0
    cuts: Counter[str] = Counter()
    while points < goal:
        seed = FIRST_SEED + part + PARTS * histories
        history = History(seed, points_max=min(POINTS_PER_HISTORY, goal - points))
        try:
            history.run()
        except BaseException as error:
            error.args = (f"seed {seed}, after {history.points} cuts: {error}",)
            raise
        histories += 1
        points += history.points
        holes += history.holes
        second_cuts += history.second_cuts
        cuts += history.cuts
    with capsys.disabled():
        sys.stdout.write(
            f"\n{points} crash points in {histories} histories from seed {FIRST_SEED + part}, "
            f"{second_cuts} cut twice, {holes} holes behind what was acknowledged\n"
        )
    for phase, count in cuts.items():
        record_faults(count, phase=phase, fault="power loss")
    assert points == cuts.total() == goal
