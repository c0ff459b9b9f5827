"""A metric's course in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "·"
#: Values of a course that are kept.
KEPT_MAX = 128


def sparkline(values: Sequence[float], *, width: int = 40) -> str:
    """Bars for values in order, averaged down to `width`; a dot where none is finite."""
    if not values:
        return ""
    width = min(width, len(values))
    cells = []
    for i in range(width):
        part = values[i * len(values) // width : (i + 1) * len(values) // width]
        finite = [v for v in part if math.isfinite(v)]
        cells.append(_mean(finite) if finite else math.nan)
    known = [c for c in cells if math.isfinite(c)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    return "".join(_bar(cell, low, high) for cell in cells)


def _mean(values: Sequence[float]) -> float:
    """Without an overflow on the way, and exact where all are alike."""
    first = values[0] / len(values)
    return values[0] + sum(v / len(values) - first for v in values)


def _bar(cell: float, low: float, high: float) -> str:
    if not math.isfinite(cell):
        return _GAP
    span = high / 2 - low / 2  # halves: the difference of two finite numbers can overflow
    if span <= 0:
        return _BARS[0]
    share = (cell / 2 - low / 2) / span
    return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]


class Course:
    """A bounded sample of a metric's values: when it is full, every second one is dropped.

    Args:
        kept_max: values; a line of `sparkline` has fewer places than half of the default.
    """

    __slots__ = ("_kept", "_max", "_next", "_seen", "_stride")

    def __init__(self, *, kept_max: int = KEPT_MAX) -> None:
        self._max = kept_max
        self._kept: list[float] = []
        self._stride = 1
        #: Values so far, and the number of the next that is kept.
        self._seen = self._next = 0

    def add(self, value: float, weight: int = 1) -> None:
        """The next value, which stands for as many."""
        if self._seen >= self._next:
            self._kept.append(value)
            if len(self._kept) >= self._max:
                self._kept = self._kept[::2]
                self._stride *= 2
            self._next = (self._seen // self._stride + 1) * self._stride
        self._seen += weight

    @property
    def values(self) -> list[float]:
        """What was kept, in order."""
        return self._kept
