"""A metric as one small line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kelt_server.pages.html import Markup, tag

_WIDTH, _HEIGHT, _EDGE = 220.0, 56.0, 3.0


def sparkline(points: Sequence[tuple[int, float]]) -> Markup:
    """An SVG of the finite ones among (place, value)."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    if not finite:
        return tag("p", "no finite value", class_="quiet")
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    left, low = min(xs), min(ys)
    wide, high = (max(xs) - left) or 1, (max(ys) / 2 - low / 2) * 2 or 1.0

    def place(x: int, y: float) -> str:
        across = _EDGE + (x - left) / wide * (_WIDTH - 2 * _EDGE)
        share = (y / 2 - low / 2) / (high / 2) if math.isfinite(high) else 0.5
        return f"{across:.1f},{_HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE):.1f}"

    if len(finite) == 1:
        finite = [finite[0], (finite[0][0] + 1, finite[0][1])]
    line = tag(
        "polyline",
        points=" ".join(place(x, y) for x, y in finite),
        fill="none",
        stroke="currentColor",
        stroke_width="1.5",
    )
    last = f"{ys[-1]:.4g}"
    picture = tag(
        "svg",
        line,
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        role="img",
        aria_label=f"last {last}",
    )
    return Markup(picture + tag("span", last, class_="quiet"))
