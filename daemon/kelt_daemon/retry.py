"""When to try again: pure, with chance and time as arguments."""

from __future__ import annotations

from dataclasses import dataclass

#: Doubling stops here, long after the bound is reached.
_EXPONENT_MAX = 16


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
            retry_after_s: what the upstream asked for: never tried sooner, within the bound.
        """
        delay_s = chance * self.bound_s
        if retry_after_s is None:
            return delay_s
        return max(delay_s, min(max(retry_after_s, 0.0), self.max_s))


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """Counts calls in a row that were answered with errors; open, it admits a single probe."""

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
