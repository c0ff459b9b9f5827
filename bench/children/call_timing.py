"""What the children share: rows, and the time that each `log()` of them takes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for `peers`

_VALUES_HELD_MAX = 200_000


def rows_of(scalars: int) -> list[dict[str, float]]:
    """Rows of as many names, with other values each; as many as memory bears."""
    names = [f"metric_{n}" for n in range(scalars)]
    count = max(8, min(1000, _VALUES_HELD_MAX // scalars))
    return [{key: float(step) + n for n, key in enumerate(names)} for step in range(count)]


def timed_calls(
    log: Callable[[dict[str, float]], Any],
    rows: list[dict[str, float]],
    *,
    calls: int,
    pace_us: float,
    seconds_max: float,
    catches_up: bool = False,
) -> list[float]:
    """What each call took, in µs, in order of time taken.

    Args:
        log: the call.
        rows: what it is given, in turn.
        calls: how many.
        pace_us: a call each so many microseconds, with the thread busy in between.
        seconds_max: no call is begun after so long.
        catches_up: whether the calls that a stall cost follow at once, so that the rate is held.
    """
    clock, count, pace_ns = time.perf_counter_ns, len(rows), int(pace_us * 1000)
    taken = []
    begin = due = clock()
    last_ns = begin + int(seconds_max * 1e9)
    for call in range(calls):
        row = rows[call % count]
        start = clock()
        log(row)
        end = clock()
        taken.append((end - start) / 1000)
        if end > last_ns:
            break
        due = due + pace_ns if catches_up else max(due + pace_ns, end)
        while clock() < due:
            pass
    taken.sort()
    return taken


def summary(taken: list[float]) -> dict[str, Any]:
    """The percentiles of ordered times."""
    calls = len(taken)
    return {
        "calls": calls,
        "p50_us": taken[calls // 2],
        "p99_us": taken[calls * 99 // 100],
        "p999_us": taken[calls * 999 // 1000],
        "max_us": taken[-1],
    }


class BusyThreads:
    """Threads of this process that do nothing but Python."""

    def __init__(self, count: int) -> None:
        self._ended = False
        self._threads = [threading.Thread(target=self._spin, daemon=True) for _ in range(count)]

    def _spin(self) -> None:
        number = 0
        while not self._ended:
            number += 1

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()
