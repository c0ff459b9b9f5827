"""What a client posts beside its rows: lines of the console, and system samples. Pure.

Console lines have an index in their file, which counts on when a run is resumed and begins again
with a rewind. A line may come again at its index: so progress bars move. It has one of two forms,

    [ERROR ]<time> text                  the time in ISO 8601, without a zone: UTC
    {"ts", "content", "level", "label"}  as JSON

and what has neither is text without a time. The end of line that clients up to 0.16 send along is
no part of it. A system sample is a line of JSON, known again by its millisecond.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_server.wandb_api.batches import BatchBuilder, json_items
from kelt_server.wandb_api.history_lines import INTERNAL_KEYS, flatten, name_fault

_PLAIN = re.compile(r"(ERROR )?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z?) ?", re.ASCII)
_SECONDS_MAX = 2**40
#: Of one record.
_LINES_MAX = 1000
_SAMPLES_MAX = 500
#: What is kept of a session of which it is not known yet whose lines it repeats.
HELD_CHARACTERS_MAX = 2**20


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """A line; `at` is 0 where it does not say."""

    number: int
    text: str
    is_error: bool = False
    at: float = 0.0
    label: str = ""


@dataclass(frozen=True, slots=True)
class SystemSample:
    """What was measured at a time, in Unix seconds."""

    at: float
    runtime: float
    values: Mapping[str, Any]

    @property
    def millisecond(self) -> int:
        """By what it is known again."""
        return round(self.at * 1000)


@dataclass(frozen=True, slots=True)
class Output:
    """Lines and samples. `first_sample` is the index of the first one in its file."""

    lines: tuple[ConsoleLine, ...] = ()
    samples: tuple[SystemSample, ...] = ()
    first_sample: int = 0
    #: Of which neither could be made.
    unread: int = field(default=0, compare=False)

    def __bool__(self) -> bool:
        return bool(self.lines or self.samples)

    @property
    def end_number(self) -> int:
        """Above every line."""
        return max((line.number for line in self.lines), default=-1) + 1


def read_output(console: tuple[int, Sequence[Any]], events: tuple[int, Sequence[Any]]) -> Output:
    """The output of a post: offset and content of each file."""
    offset, content = console
    lines = tuple(
        _line(number, text.rstrip("\r\n"))
        for number, text in enumerate(content, max(0, offset))
        if isinstance(text, str)
    )
    read = [_sample(text) for text in events[1]]
    samples = tuple(sample for sample in read if sample is not None)
    unread = len(content) - len(lines) + len(read) - len(samples)
    return Output(lines, samples, max(0, events[0]), unread)


def _line(number: int, text: str) -> ConsoleLine:
    if text.startswith("{"):
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict) and isinstance(said.get("content"), str) and "ts" in said:
            return ConsoleLine(
                number,
                said["content"],
                said.get("level") == "error",
                _seconds(str(said["ts"])),
                said["label"] if isinstance(said.get("label"), str) else "",
            )
    found = _PLAIN.match(text)
    at = _seconds(found[2]) if found is not None else 0.0
    if found is None or not at:
        return ConsoleLine(number, text)
    return ConsoleLine(number, text[found.end() :], found[1] is not None, at)


def _seconds(text: str) -> float:
    """Unix seconds of a time without a zone, which is UTC; 0 where it is none."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    try:
        at = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
        return at + (float(f"0.{fraction}") if fraction else 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _sample(text: object) -> SystemSample | None:
    try:
        said = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    at, runtime = _number(said.pop("_timestamp", None)), _number(said.pop("_runtime", None))
    if at is None or at <= 0:
        return None
    values = {
        _text(name): value
        for name, value in flatten(said)
        if name not in INTERNAL_KEYS and not name_fault(name)
    }
    return SystemSample(at, runtime or 0.0, values)


def _number(said: object) -> float | None:
    """Seconds, of a size that a time can have; NaN is none."""
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    return float(said) if is_number and -_SECONDS_MAX < said < _SECONDS_MAX else None  # type: ignore[operator, arg-type] # a number


def _text(text: str) -> str:
    """As a record can hold it: without lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def without(output: Output, *, lines_below: int, times: Collection[int]) -> Output:
    """The output without lines below a number, and samples of some milliseconds."""
    return replace(
        output,
        lines=tuple(line for line in output.lines if line.number >= lines_below),
        samples=tuple(found for found in output.samples if found.millisecond not in times),
    )


def add_output(builder: BatchBuilder, output: Output) -> None:
    """Takes lines and samples into a batch; what cannot be one is counted as lost."""
    refused = 0
    for lines in _chunks(output.lines, _LINES_MAX):
        refused += _add_halved(builder, Kind.CONSOLE, [_line_record(line) for line in lines])
    for samples in _chunks(output.samples, _SAMPLES_MAX):
        records = [
            record_pb2.SystemSample(
                at=sample.at, runtime=sample.runtime, values=json_items(sample.values)
            )
            for sample in samples
        ]
        refused += _add_halved(builder, Kind.SYSTEM, records)
    if refused:
        builder.lose("console lines or system samples that take more than 8 MiB", rows=refused)


def _line_record(line: ConsoleLine) -> record_pb2.ConsoleLine:
    stream = record_pb2.ConsoleLine.STDERR if line.is_error else record_pb2.ConsoleLine.STDOUT
    return record_pb2.ConsoleLine(
        number=line.number,
        stream=stream,
        at=line.at,
        text=_text(line.text),
        label=_text(line.label),
    )


def _add_halved(builder: BatchBuilder, kind: Kind, records: list[Any]) -> int:
    """As one record, or where that is too large as several."""
    is_console = kind == Kind.CONSOLE
    message = (
        record_pb2.Console(lines=records) if is_console else record_pb2.System(samples=records)
    )
    if builder.add(kind, message):
        return 0
    if len(records) == 1:
        return 1
    half = len(records) // 2
    first = _add_halved(builder, kind, records[:half])
    return first + _add_halved(builder, kind, records[half:])


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def held(document: Mapping[str, Any]) -> Output:
    """What was written down of a session that was only announced."""
    lines = (ConsoleLine(*line) for line in document.get("lines", ()))
    samples = (SystemSample(*sample) for sample in document.get("samples", ()))
    return Output(tuple(lines), tuple(samples))


def hold(before: Output, more: Output) -> tuple[dict[str, Any], int]:
    """Both, to be written down, as far as there is room; and how much was left out."""
    lines = {line.number: line for line in (*before.lines, *more.lines)}
    samples = {sample.millisecond: sample for sample in (*before.samples, *more.samples)}
    kept: dict[str, list[Any]] = {"lines": [], "samples": []}
    room, left_out = HELD_CHARACTERS_MAX, 0
    for line in lines.values():
        room -= len(line.text) + 50
        if room >= 0:
            kept["lines"].append([line.number, line.text, line.is_error, line.at, line.label])
        left_out += room < 0
    for sample in samples.values():
        room -= len(json.dumps(sample.values)) + 50
        if room >= 0:
            kept["samples"].append([sample.at, sample.runtime, dict(sample.values)])
        left_out += room < 0
    return kept, left_out


def merged(before: Output, more: Output) -> Output:
    """Both, the later one where they share a line or a millisecond."""
    lines = {line.number: line for line in (*before.lines, *more.lines)}
    samples = {sample.millisecond: sample for sample in (*before.samples, *more.samples)}
    return Output(tuple(lines.values()), tuple(samples.values()), more.first_sample)
