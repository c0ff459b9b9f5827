"""A real NumPy training in one process, in pairs of blocks with and without logging.

    training.py PEER FOLDER STEP_MS PAIRS BLOCK_S

The network is trained in both blocks of a pair; which comes first changes from pair to pair. Before
each block whatever the tracker still does in the background gets time to end. Prints one line of
JSON: milliseconds a step in each block, mean and median.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from call_timing import rows_of
from peers import BY_NAME

SCALARS = 20
FEATURES, HIDDEN, CLASSES = 64, 128, 10
SETTLE_S = 0.15


class Training:
    """Stochastic gradient descent of a small network on random data."""

    def __init__(self, batch: int) -> None:
        random = np.random.default_rng(0)
        self._x = random.standard_normal((64, batch, FEATURES), dtype=np.float32)
        self._y = random.integers(0, CLASSES, (64, batch))
        self._w1 = random.standard_normal((FEATURES, HIDDEN), dtype=np.float32) * 0.1
        self._w2 = random.standard_normal((HIDDEN, CLASSES), dtype=np.float32) * 0.1
        self._rows = np.arange(batch)
        self._turn = 0

    def step(self) -> float:
        """One step; its loss."""
        x, y = self._x[self._turn % 64], self._y[self._turn % 64]
        self._turn += 1
        hidden = np.maximum(x @ self._w1, 0)
        logits = hidden @ self._w2
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        odds /= odds.sum(axis=1, keepdims=True)
        loss = -float(np.log(odds[self._rows, y] + 1e-9).mean())
        odds[self._rows, y] -= 1
        odds /= len(y)
        back = (odds @ self._w2.T) * (hidden > 0)
        self._w2 -= 0.01 * (hidden.T @ odds)
        self._w1 -= 0.01 * (x.T @ back)
        return loss


def ms_per_step(step: Callable[[], object], seconds: float) -> tuple[float, float]:
    """The mean step of about as many seconds, in which all counts that happens, and the median."""
    clock = time.perf_counter
    begin = before = clock()
    taken = []
    while before - begin < seconds:
        step()
        now = clock()
        taken.append(now - before)
        before = now
    return statistics.fmean(taken) * 1000, statistics.median(taken) * 1000


def of_duration(step_ms: float) -> Training:
    """A training whose step takes about so long here."""
    batch = 64
    for _ in range(4):
        training = Training(batch)
        ms_per_step(training.step, 0.1)
        batch = max(8, round(batch * step_ms / ms_per_step(training.step, 0.3)[1]))
    return Training(batch)


def main() -> None:
    peer, folder = BY_NAME[sys.argv[1]], Path(sys.argv[2])
    step_ms, pairs, block_s = float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    training = of_duration(step_ms)
    tracker = peer.open(folder)
    log, row = tracker.log, rows_of(SCALARS)[0]

    def logged_step() -> None:
        row["metric_0"] = training.step()
        log(dict(row))  # a new dict each step, as trainings make

    ms_per_step(logged_step, 0.5)
    without, with_log = [], []
    for pair in range(pairs):
        blocks = [(training.step, without), (logged_step, with_log)]
        for step, found in blocks if pair % 2 else reversed(blocks):
            time.sleep(SETTLE_S)
            ms_per_step(step, 0.05)
            found.append(ms_per_step(step, block_s))
    print(json.dumps({"version": peer.version, "without_ms": without, "with_ms": with_log}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
