"""What a run's page shows beside its rows: the machine's curves, and the end of the console."""

from __future__ import annotations

import re

from kelt_proto.v1.record_pb2 import ConsoleLine as Record
from kelt_server.pages.html import Markup, escaped, tag
from kelt_server.pages.sparkline import charts
from kelt_server.reader import RunReader

_CHARTS_MAX = 24
_CHART_BUCKETS = 120
_LINES_SHOWN = 100
_LINE_CHARACTERS_MAX = 500
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def system_charts(reader: RunReader, where: tuple[str, str, str]) -> Markup:
    """Curves of the system samples over time, folded away; nothing where there are none."""
    keys = reader.rows.system_keys(*where)[:_CHARTS_MAX]
    if not keys:
        return Markup("")
    found = reader.rows.system_buckets(
        where, keys, number=_CHART_BUCKETS, step_min=None, step_max=None
    )
    drawn = tag("div", charts(keys, found.buckets, prefix="system."), class_="charts")
    return tag("details", tag("summary", "System metrics"), drawn)


def console_tail(reader: RunReader, where: tuple[str, str, str]) -> Markup:
    """The last lines of the console."""
    page = reader.consoles.tail(where, last=_LINES_SHOWN)
    if not page.lines:
        return Markup("")
    before = page.total - len(page.lines)
    note = f"{before} lines before: kelt runs logs {where[1]}/{where[2]}" if before else ""
    lines = [
        tag("span", _shown(found.line.text), "\n", class_=_CLASSES.get(found.line.stream, ""))
        for found in page.lines
    ]
    parts = [tag("h2", "Console"), tag("p", note, class_="quiet") if note else ""]
    return escaped([*parts, tag("pre", lines, class_="console")])


_CLASSES = {int(Record.STDERR): "failed"}


def _shown(text: str) -> str:
    text = _COLOUR.sub("", text)
    return text if len(text) <= _LINE_CHARACTERS_MAX else text[:_LINE_CHARACTERS_MAX] + "…"
