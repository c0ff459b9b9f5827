"""When to try again: pure, with chance and time as arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
