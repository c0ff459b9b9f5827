"""What becomes of a row that finds no room on this host: `drop_counted`, `block` or `raise`."""

from __future__ import annotations

import re

from kelt.journal.spool_segments import RoomPolicy

DROP_COUNTED = "drop_counted"
POLICIES = (DROP_COUNTED, "block", "raise")
BLOCK_MS_MAX = 600_000.0
_BLOCK = re.compile(r"block\(\s*(\d+(?:\.\d+)?)\s*\)")


def checked_policy(value: object) -> str:
    """A policy as the user may write it.

    Raises:
        ValueError: it is none; the message says what is one.
    """
    if value in POLICIES or (isinstance(value, str) and _block_ms(value) is not None):
        return str(value)
    raise ValueError("'drop_counted', 'block', 'block(250)' (milliseconds) or 'raise'")


def checked_block_ms(value: object) -> float:
    """How long `block` may wait.

    Raises:
        ValueError: it is no such number.
    """
    try:
        wait_ms = -1.0 if isinstance(value, bool) else float(str(value))
    except ValueError:
        wait_ms = -1.0
    if not 0 <= wait_ms <= BLOCK_MS_MAX:
        raise ValueError(f"a number of milliseconds, 0 to {BLOCK_MS_MAX:.0f}")
    return wait_ms


def room_policy(policy: str, *, block_max_ms: float) -> RoomPolicy:
    """The policy as the spool knows it; a number in `policy` itself beats `block_max_ms`."""
    own_ms = _block_ms(policy)
    if own_ms is not None:
        return RoomPolicy(wait_max_s=own_ms / 1000)
    if policy == "block":
        return RoomPolicy(wait_max_s=block_max_ms / 1000)
    return RoomPolicy(raises=policy == "raise")


def _block_ms(policy: str) -> float | None:
    match = _BLOCK.fullmatch(policy)
    if match is None or float(match.group(1)) > BLOCK_MS_MAX:
        return None
    return float(match.group(1))
