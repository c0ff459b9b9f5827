"""What a run's page shows beside its rows: the machine's curves, and the end of the console."""

from __future__ import annotations

import re

from kelt_proto.v1.record_pb2 import ConsoleLine as Record
from kelt_server.pages.html import Markup, escaped, tag
from kelt_server.pages.layout import Part, folded
from kelt_server.pages.sparkline import charts
from kelt_server.reader import RunReader

_CHARTS_MAX = 60
_CHART_BUCKETS = 120
_LINES_SHOWN = 100
_LINE_CHARACTERS_MAX = 500
#: What steers a terminal: colours, titles and the like, and single signs.
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f]"
)


def system_charts(reader: RunReader, where: tuple[str, str, str], part: Part) -> Markup:
    """Curves of the system samples over time, folded away; nothing where there are none.

    Args:
        reader: finds what is open to who asks.
        where: the run.
        part: whose text is looked for in their names.
    """
    every = [key for key in reader.rows.system_keys(*where) if part.has(key)]
    keys = every[:_CHARTS_MAX]
    if not keys:
        return Markup("")
    found = reader.rows.system_buckets(
        where, keys, number=_CHART_BUCKETS, step_min=None, step_max=None
    )
    drawn = tag("div", charts(keys, found.buckets, prefix="system."), class_="charts")
    are_all = len(keys) == len(every)
    shown = f"{len(keys)}" if are_all else f"{len(keys)} of {len(every):,}; find others by name"
    return folded(f"System metrics ({shown})", drawn)


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
    return escaped([*parts, tag("div", tag("pre", lines), class_="console")])


_CLASSES = {int(Record.STDERR): "stderr"}


def _shown(text: str) -> str:
    text = _CONTROL.sub("", text)
    return text if len(text) <= _LINE_CHARACTERS_MAX else text[:_LINE_CHARACTERS_MAX] + "…"
