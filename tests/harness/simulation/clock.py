"""Virtual time, and a scheduler whose every choice comes from a seed."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from unittest import mock

import trio
import trio._core._run as trio_run
import trio.testing

BOUND_REAL_S = 60.0


@contextmanager
def seeded_scheduler(rng: random.Random):
    """Trio sorts what can run by age and shuffles it with our numbers; so do random ids."""
    with (
        mock.patch.object(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch.object(trio_run, "_r", random.Random(rng.random())),
        mock.patch("os.urandom", random.Random(rng.random()).randbytes),
    ):
        yield


def run_virtually(main, *args):
    """Runs on a clock that jumps ahead whenever everybody waits."""
    return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))


class WallClock:
    """The time of day: it goes on with virtual time, and jumps."""

    def __init__(self) -> None:
        # Whole weeks: the same for all runs of a seed, and near the real one.
        self._start = time.time() // 604800 * 604800
        self.jumped_s = 0.0

    def now(self) -> float:
        return self._start + trio.current_time() + self.jumped_s


class LoopTime:
    """Stands in for the module `time` where the sender asks for it."""

    @staticmethod
    def monotonic() -> float:
        return trio.current_time()

    @staticmethod
    def sleep(seconds: float) -> None:
        raise AssertionError(f"the sender slept for {seconds} s in the simulation")
