"""Numbers as small pictures: a metric as a line, a histogram as bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kelt_server.metrics.store import Bucket
from kelt_server.pages.html import Markup, tag

#: From here on a value is shown without its fraction, and from there on as a power of ten.
_WHOLE_MIN, _WHOLE_END = 1e3, 1e9
_WIDTH, _HEIGHT, _EDGE = 220.0, 56.0, 3.0


def charts(keys: Sequence[str], buckets: Iterable[Bucket], *, prefix: str = "") -> list[Markup]:
    """A figure for each metric that has numbers: its course, end and range; names without a prefix.

    The end is a mean, and says so, where the last bucket has several numbers. What is not a number
    is counted.
    """
    by_key: dict[str, list[Bucket]] = {key: [] for key in keys}
    for bucket in buckets:
        by_key[bucket.metric].append(bucket)
    return [_chart(key, key.removeprefix(prefix), found) for key, found in by_key.items() if found]


def _chart(key: str, shown: str, buckets: Sequence[Bucket]) -> Markup:
    points = [(bucket.number, bucket.mean) for bucket in buckets if bucket.mean is not None]
    least = min((b.minimum for b in buckets if b.minimum is not None), default=math.nan)
    most = max((b.maximum for b in buckets if b.maximum is not None), default=math.nan)
    lines = [f"{_short(least, 3)} … {_short(most, 3)}"] if least < most else []
    if nan_count := sum(bucket.nan_count for bucket in buckets):
        lines.append(f"NaN: {nan_count:,}")
    last = buckets[-1]
    end = "NaN" if last.mean is None else _short(last.mean)
    return tag(
        "figure",
        tag("figcaption", shown, title=key),
        sparkline(points, f"≈ {end}" if last.count > 1 and least < most else end),
        tag("span", ", ".join(lines), class_="range"),
    )


def sparkline(points: Sequence[tuple[int, float]], last: str) -> Markup:
    """An SVG of the finite ones among (place, value), and what the last value is."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    if not finite:
        note = tag("p", "no finite value", class_="quiet")
        return Markup(note + tag("span", last, class_="quiet"))
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
        vector_effect="non-scaling-stroke",
    )
    return Markup(_picture(line, f"last {last}") + tag("span", last, class_="quiet"))


def _short(value: float, digits: int = 4) -> str:
    whole = _WHOLE_MIN <= abs(value) < _WHOLE_END
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def bars(counts: Sequence[float]) -> Markup:
    """An SVG of a bar for each count; none for what is not finite."""
    heights = [count if math.isfinite(count) and count > 0 else 0.0 for count in counts]
    highest = max(heights, default=0.0) or 1.0
    wide = _WIDTH / max(1, len(heights))
    rects = [
        tag(
            "rect",
            x=f"{number * wide:.1f}",
            y=f"{_HEIGHT * (1 - height / highest):.1f}",
            width=f"{wide * 0.9:.2f}",
            height=f"{_HEIGHT * height / highest:.1f}",
            fill="currentColor",
        )
        for number, height in enumerate(heights)
    ]
    return _picture(Markup("".join(rects)), f"{len(heights)} bins")


def _picture(drawn: Markup, label: str) -> Markup:
    view = f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}"
    return tag("svg", drawn, viewBox=view, role="img", aria_label=label, preserveAspectRatio="none")
