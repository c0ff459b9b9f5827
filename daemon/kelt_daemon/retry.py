"""When to try again: pure, with chance and time as arguments."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)

#: Doubling stops here, long after the bound is reached.
_EXPONENT_MAX = 16
#: Who asks for more is asked again after this all the same.
RETRY_AFTER_S_MAX = 600.0


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Full jitter: a random share of a bound that doubles with each failure in a row."""

    min_s: float
    max_s: float
    failures: int = 0

    def failed(self) -> Backoff:
        """After one more failure."""
        return Backoff(min_s=self.min_s, max_s=self.max_s, failures=self.failures + 1)

    def succeeded(self) -> Backoff:
        """Back at the beginning."""
        return Backoff(min_s=self.min_s, max_s=self.max_s)

    @property
    def bound_s(self) -> float:
        """The longest wait after this many failures."""
        exponent = min(max(self.failures - 1, 0), _EXPONENT_MAX)
        return min(self.max_s, self.min_s * 2.0**exponent)

    def delay_s(self, *, chance: float, retry_after_s: float | None = None) -> float:
        """How long to wait before the next try.

        Args:
            chance: evenly distributed in [0, 1).
            retry_after_s: what the upstream asked for: never tried sooner, up to
                `RETRY_AFTER_S_MAX`.
        """
        delay_s = chance * self.bound_s
        if retry_after_s is None:
            return delay_s
        # A little later than asked for, so that not all come back in the same instant.
        return max(delay_s, min(max(retry_after_s, 0.0), RETRY_AFTER_S_MAX) + delay_s)


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """Counts calls of one kind in a row that failed.

    Open, calls stop; after the pause a single one is the probe: it closes the breaker by success,
    and opens it again by failure.
    """

    failures_max: int
    failures: int = 0

    def failed(self) -> Breaker:
        """After one more error."""
        return Breaker(failures_max=self.failures_max, failures=self.failures + 1)

    def succeeded(self) -> Breaker:
        """After a call that worked."""
        return Breaker(failures_max=self.failures_max)

    @property
    def is_open(self) -> bool:
        """Whether calls should stop until a probe worked."""
        return self.failures >= self.failures_max

    @property
    def is_suspicious(self) -> bool:
        """Whether the last call failed, so that one at a time is enough."""
        return self.failures > 0


@dataclass(frozen=True, kw_only=True)
class RetryBudget:
    """Repeated calls are a share of those that work, after a reserve: what does not come in rows.

    Args:
        share: how much of a repetition each call that works allows.
        reserve: repetitions to begin with, and at most.
        left: repetitions now.
    """

    share: float
    reserve: float
    left: float

    @classmethod
    def full(cls, *, share: float, reserve: float) -> RetryBudget:
        """One that nothing was taken from."""
        return cls(share=share, reserve=reserve, left=reserve)

    def earned(self) -> RetryBudget:
        """After a call that worked."""
        return replace(self, left=min(self.reserve, self.left + self.share))

    def spent(self) -> RetryBudget:
        """After a call that must be repeated."""
        return replace(self, left=max(0.0, self.left - 1.0))

    @property
    def is_empty(self) -> bool:
        """Whether repetitions must wait for a pause."""
        return self.left < 1.0


class Retries(Generic[_Key]):
    """What failed here and is tried again by itself: soon at first, then ever later.

    Too many open files are over in a moment; a disk that broke is not asked every second.

    Args:
        min_s: the wait after a first failure; each failure that follows doubles it.
        max_s: the longest wait. What went well for that long begins anew.
    """

    def __init__(self, *, min_s: float, max_s: float) -> None:
        self._min_s, self._max_s = min_s, max_s
        self._at_s: dict[_Key, float] = {}
        self._last: dict[_Key, tuple[float, float]] = {}

    def __contains__(self, key: _Key) -> bool:
        """Whether it waits."""
        return key in self._at_s

    def failed(self, key: _Key, *, now_s: float, wait_s: float | None = None) -> None:
        """Has something wait: as long as its failures in a row say, or as long as is given."""
        if wait_s is None:
            last_s, tried_s = self._last.get(key, (0.0, -self._max_s))
            is_in_row = now_s - tried_s < self._max_s
            wait_s = min(self._max_s, 2 * last_s) if is_in_row and last_s else self._min_s
            self._last[key] = (wait_s, now_s + wait_s)
        self._at_s[key] = now_s + wait_s

    def due(self, *, now_s: float) -> list[_Key]:
        """What has waited long enough."""
        return [key for key, at_s in self._at_s.items() if at_s <= now_s]

    def take(self, key: _Key, *, now_s: float) -> bool:
        """Whether it waited and has waited long enough; it is being tried then."""
        at_s = self._at_s.get(key)
        if at_s is None or now_s < at_s:
            return False
        del self._at_s[key]
        return True

    def forget(self, key: _Key) -> None:
        """It is gone, or well."""
        self._at_s.pop(key, None)
        self._last.pop(key, None)

    @property
    def next_s(self) -> float | None:
        """When the next one is due, if any waits."""
        return min(self._at_s.values(), default=None)
