"""Medians with their extremes, and tables of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def spread(values: Iterable[float], digits: int = 1) -> str:
    """The median, with the least and the greatest beside it."""
    found = list(values)
    middle = statistics.median(found)
    if len(found) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({min(found):,.{digits}f}-{max(found):,.{digits}f})"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of an ordered sequence lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others numbers."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)
