"""Times, sizes and numbers as a person reads them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

_KIB = 1024


def shown_time(seconds: float | None) -> str:
    """Of Unix seconds, in UTC; nothing of none."""
    if not seconds:
        return ""
    try:
        at = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return str(seconds)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def shown_duration(seconds: Any) -> str:
    """Hours, minutes and seconds; nothing where it is no number."""
    if not isinstance(seconds, int | float):
        return ""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}"


def shown_size(size_bytes: int) -> str:
    """Of a number of bytes, in the largest unit that fits."""
    size, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB"]
    while size >= _KIB and len(units) > 1:
        size, units = size / _KIB, units[1:]
    return f"{size:,.0f} {units[0]}" if units[0] == "bytes" else f"{size:,.1f} {units[0]}"


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
