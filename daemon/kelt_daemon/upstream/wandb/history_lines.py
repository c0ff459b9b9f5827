"""Rows as lines of W&B's history: pure.

Parts of a row that follow each other become one line, as W&B's client makes it; the last line stays
in `CarriedRun`, because its next part may come with the next push.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kelt_daemon.upstream.wandb.carried_run import CarriedRun, LastLine
from kelt_proto.v1.rows import FLAG_PARTIAL, FLAG_RELATIVE_STEP, Row

#: W&B takes no longer line, nor a longer request.
LINE_BYTES_MAX = 10 * 1024 * 1024
STEP, TIMESTAMP, RUNTIME = "_step", "_timestamp", "_runtime"


@dataclass(slots=True)
class Lines:
    """Lines that are to be posted, one behind the other."""

    first_index: int = 0
    texts: list[str] = field(default_factory=list)

    def add(self, index: int, text: str) -> None:
        """The next one."""
        if not self.texts:
            self.first_index = index
        self.texts.append(text)


def encode(value: Any) -> str:
    """As W&B's client writes JSON: with bare NaN, Infinity and -Infinity."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def size_bytes_of(text: str) -> int:
    """As UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def add_row(run: CarriedRun, row: Row, seq: int, lines: Lines) -> None:
    """A row, or a part of one: into the last line, or into a new one."""
    header = row.header
    step = header.step + (run.base_step if header.flags & FLAG_RELATIVE_STEP else 0)
    last = run.last_line
    if last is None or last.step != step:
        close(run, lines)
        last = LastLine(
            index=run.next_line,
            step=step,
            timestamp=header.timestamp,
            runtime=header.runtime,
            values={},
            first_seq=seq,
        )
        run.last_line = last
        run.next_line += 1
    if last.is_posted:
        last.is_posted, last.first_seq = False, seq
    last.values |= row.values
    last.timestamp, last.runtime = header.timestamp, header.runtime
    last.is_partial = bool(header.flags & FLAG_PARTIAL)
    run.last_step = max(run.last_step, step)
    run.row_facts = {STEP: step, TIMESTAMP: header.timestamp, RUNTIME: header.runtime}
    run.summary.add_row(tuple(row.values), tuple(row.values.values()), step)
    run.summary_due = True


def _axes(run: CarriedRun, values: Mapping[str, Any]) -> dict[str, Any]:
    """The newest values of step metrics that a row lacks: W&B draws by what is in the same line."""
    found = {}
    for name in values:
        definition = run.summary.definitions.of(name)
        axis = definition.step_metric if definition is not None else ""
        if axis and (metric := run.summary.metrics.get(axis)) is not None:
            found[axis] = metric.last
    return found


def close(run: CarriedRun, lines: Lines) -> None:
    """Posts the last line as it stands, unless W&B has it."""
    last = run.last_line
    if last is None or last.is_posted:
        return
    facts = {STEP: last.step, TIMESTAMP: last.timestamp, RUNTIME: last.runtime}
    text = encode({**_axes(run, last.values), **last.values, **facts})
    size_bytes = size_bytes_of(text)
    if size_bytes > LINE_BYTES_MAX:
        run.lose(1, f"a row of {size_bytes:,} bytes as JSON; W&B takes {LINE_BYTES_MAX:,}")
        run.next_line, run.last_line = last.index, None
        return
    lines.add(last.index, text)
    last.is_posted = True
