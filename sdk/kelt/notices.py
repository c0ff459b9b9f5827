"""What is said of a thing that comes and goes: pure, with time as an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Notices:
    """Which losses are told: one at once, and those that follow shortly after it are counted.

    A loss that lasts is told in the end, however it began.
    """

    quiet_s: float
    told_at_s: float | None = None
    is_told: bool = False
    untold: int = 0

    def lost(self, *, now_s: float, is_new: bool) -> Notices:
        """There is a loss, new or going on; `is_told` then says whether it was told, or is now."""
        if self.is_told:
            return self
        untold = self.untold + is_new
        if self.told_at_s is not None and now_s - self.told_at_s < self.quiet_s:
            return replace(self, untold=untold)
        return replace(self, told_at_s=now_s, is_told=True, untold=untold)

    def recovered(self) -> Notices:
        """The loss is over."""
        return replace(self, is_told=False, untold=0 if self.is_told else self.untold)
