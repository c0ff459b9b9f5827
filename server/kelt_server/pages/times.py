"""Times as a person reads them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any


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
