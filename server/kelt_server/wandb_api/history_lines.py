"""Lines of wandb's history into rows: what each logs, and what cannot be logged. Pure.

A line is nearly JSON: bare NaN and Infinity occur. Nested dicts are flattened with dots, as `log()`
does, but for what describes a media file or a table, which is one value. What cannot be a row is a
`BadLine`, what cannot be one of its values is left out of it, and both say why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kelt_proto.v1.rows import COLUMNS_MAX, NAME_BYTES_MAX, STEP_MAX, Value
from kelt_server.ingest.blocks import kind_of

_DEPTH_MAX = 64
_SHOWN_CHARS_MAX = 60
ROW_KEYS = ("_step", "_timestamp", "_runtime")
#: In every description of a media file, a table, a histogram.
MEDIA_KEY = "_type"
#: wandb's own, no values of the user's.
INTERNAL_KEYS = ("_wandb",)

#: Step and time of a row.
Stamp = tuple[int, float]


@dataclass(frozen=True, slots=True)
class RowLine:
    """A line that is a row. `step` and `timestamp` are None where it does not say them."""

    step: int | None
    timestamp: float | None
    runtime: float
    names: tuple[str, ...]
    kinds: tuple[int, ...]
    values: tuple[Value, ...]
    left_out: tuple[str, ...] = ()

    @property
    def stamp(self) -> Stamp | None:
        """By what the same row is known again."""
        if self.step is None or self.timestamp is None:
            return None
        return self.step, self.timestamp


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no row, and why."""

    reason: str


HistoryLine = RowLine | BadLine


@dataclass(slots=True)
class _Columns:
    names: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read_line(text: object) -> HistoryLine:
    """One line of the history file."""
    if not isinstance(text, str):
        return BadLine("a line of the history is no text")
    try:
        said = json.loads(text)
        if not isinstance(said, dict):
            return BadLine("a line of the history is no JSON object")
        return _row(said)
    except (ValueError, RecursionError, OverflowError) as error:
        return BadLine(f"a line of the history cannot be read: {error}"[:200])


def _row(said: dict[str, Any]) -> HistoryLine:
    step = said.pop("_step", None)
    if step is not None:
        step = _whole(step)
        if step is None or not 0 <= step <= STEP_MAX:
            return BadLine("a line of the history has a step that is none")
    timestamp, runtime = (
        _seconds(said.pop("_timestamp", None)),
        _seconds(said.pop("_runtime", None)),
    )
    for key in INTERNAL_KEYS:
        said.pop(key, None)
    columns = _Columns()
    seen: set[str] = set()
    for name, value in flatten(said):
        fault = _fault(name, seen)
        if fault:
            columns.left_out.append(fault)
            continue
        seen.add(name)
        columns.names.append(name)
        columns.kinds.append(kind_of(value))
        columns.values.append(value)
    if len(columns.names) > COLUMNS_MAX:
        return BadLine(f"a row of {len(columns.names)} values; {COLUMNS_MAX} is the most")
    return RowLine(
        step, timestamp, runtime or 0.0, tuple(columns.names), tuple(columns.kinds),
        tuple(columns.values), tuple(columns.left_out),
    )  # fmt: skip


def flatten(data: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Nested dicts with dots between their keys; empty, described and very deep ones as values."""
    for key, value in data.items():
        is_nested = isinstance(value, Mapping) and value and MEDIA_KEY not in value
        if is_nested and depth < _DEPTH_MAX:
            yield from flatten(value, f"{prefix}{key}.", depth + 1)
        else:
            yield prefix + key, value


def name_fault(name: str) -> str:
    """Why a key cannot name a value; empty if it can."""
    if not name:
        return "a key is the empty string"
    if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        return f"the key {name[:_SHOWN_CHARS_MAX]!r}… takes more than {NAME_BYTES_MAX} bytes"
    return ""


def _fault(name: str, seen: set[str]) -> str:
    if name in seen:
        return f"{name[:_SHOWN_CHARS_MAX]!r} comes twice, once with a dot and once nested"
    return name_fault(name)


def _whole(number: object) -> int | None:
    if isinstance(number, bool):
        return None
    if isinstance(number, int):
        return number
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return None


def _seconds(number: object) -> float | None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    return float(number)
