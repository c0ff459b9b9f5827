"""Which protocol two processes speak with each other: the same rule on both hops.

Each side says the newest that it speaks and the oldest that it understands; they speak the
newest that both know. A message may gain fields without a new number, because whoever does not
know a field passes over it; a number is added when a message changes its meaning, and the one
before stays understood. A side that names no oldest (kelt 0.1 did not) understands its own alone.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL = 1
PROTOCOL_MIN = 1


@dataclass(frozen=True, slots=True)
class ProtocolRange:
    """What a process speaks: from the oldest to the newest, inclusive."""

    oldest: int = PROTOCOL_MIN
    newest: int = PROTOCOL

    def common(self, other: ProtocolRange) -> int:
        """The newest that both speak; 0 where there is none."""
        newest = min(self.newest, other.newest)
        return newest if newest >= max(self.oldest, other.oldest) else 0

    def is_older_than(self, other: ProtocolRange) -> bool:
        """Of two without a common protocol: whether this is the one to upgrade."""
        return self.newest < other.oldest

    def __str__(self) -> str:
        if self.oldest == self.newest:
            return f"protocol {self.newest}"
        return f"protocols {self.oldest} to {self.newest}"


#: What this distribution speaks.
OURS = ProtocolRange()


def said(newest: int, oldest: int) -> ProtocolRange:
    """The range that a message names; an oldest of 0 was not named."""
    return ProtocolRange(oldest=oldest or newest, newest=newest)
