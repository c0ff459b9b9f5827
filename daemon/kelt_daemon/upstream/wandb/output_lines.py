"""Console lines and system samples as lines of W&B's `output.log` and `wandb-events.jsonl`: pure.

    [ERROR ]2026-01-02T03:04:05.000006 text
    {"system.cpu": 12.5, "_timestamp": 1767323045.0, "_runtime": 1.0, "_wandb": true}

A console line lies at its own number, behind what a resumed run had there, and takes the place of
the one before it under that number. A sample lies at the next index, which is kept like that of the
history. Neither is held back as the last row is: nothing more comes into such a line,
which is never too long for W&B, as a record takes 8 MiB at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.history_lines import RUNTIME, TIMESTAMP, Lines, encode
from kelt_proto.v1 import record_pb2

_ERROR = "ERROR "
#: By which W&B knows what its client measured by itself.
_MEASURED: Mapping[str, Any] = {"_wandb": True}
_YEAR_MAX_S = 2**36


Console = Mapping[int, record_pb2.ConsoleLine]


def add_console(
    run: CarriedRun, said: record_pb2.Console, console: dict[int, record_pb2.ConsoleLine]
) -> None:
    """Puts lines at their places; a later one replaces an earlier one."""
    for line in said.lines:
        console[run.console_base + line.number] = line


def texts_of(console: Console) -> dict[int, str]:
    """Lines by their own numbers."""
    return {line.number: line.text for line in console.values()}


def _console_line(line: record_pb2.ConsoleLine) -> str:
    prefix = _ERROR if line.stream == record_pb2.ConsoleLine.STDERR else ""
    if not 0 < line.at < _YEAR_MAX_S:
        return f"{prefix}{line.text}"
    at = datetime.fromtimestamp(line.at, tz=timezone.utc).replace(tzinfo=None)
    return f"{prefix}{at.isoformat(timespec='microseconds')} {line.text}"


def console_pieces(console: Console) -> Iterator[Lines]:
    """Lines that follow each other, together: a post has one offset."""
    piece = Lines()
    for number in sorted(console):
        if piece.texts and number != piece.first_index + len(piece.texts):
            yield piece
            piece = Lines()
        piece.add(number, _console_line(console[number]))
    if piece.texts:
        yield piece


def add_samples(run: CarriedRun, said: record_pb2.System, events: Lines) -> None:
    """Each sample as a line."""
    for sample in said.samples:
        values = {item.key: json.loads(item.json) for item in sample.values}
        times = {TIMESTAMP: sample.at, RUNTIME: sample.runtime}
        events.add(run.next_event, encode({**values, **times, **_MEASURED}))
        run.next_event += 1
