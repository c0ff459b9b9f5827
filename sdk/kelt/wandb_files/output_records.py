"""W&B's records of the console and of the machine, in kelt's. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from kelt.wandb_files.row_building import decode_value
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.rows import NAME_BYTES_MAX
from kelt_proto.wandb.wandb_record_pb2 import Output, Stats, Timestamp

#: W&B's number for standard error.
_STDERR = 0
#: Before the names of system metrics, as wandb's client sends them.
_PREFIX = "system."
_TIME_END_S = 2**36


def is_error(output: Output) -> bool:
    """Whether it was written to standard error."""
    return output.output_type == _STDERR


def console(changed: Mapping[int, str], output: Output) -> bytes:
    """Lines as they stand after a piece of output."""
    stream = record_pb2.ConsoleLine.STDERR if is_error(output) else record_pb2.ConsoleLine.STDOUT
    at = seconds(output.timestamp)
    lines = [
        record_pb2.ConsoleLine(number=number, stream=stream, at=at, text=text)
        for number, text in sorted(changed.items())
    ]
    return record_pb2.Console(lines=lines).SerializeToString(deterministic=True)


def system(stats: Stats, *, started_at: float) -> bytes | None:
    """A system sample; None where it has no time or no values."""
    at = seconds(stats.timestamp)
    values = [
        record_pb2.JsonItem(key=_PREFIX + item.key, json=json.dumps(decode_value(item.value_json)))
        for item in stats.item
        if item.key and len(item.key.encode()) < NAME_BYTES_MAX - len(_PREFIX)
    ]
    if not at or not values:
        return None
    sample = record_pb2.SystemSample(at=at, runtime=max(0.0, at - started_at), values=values)
    return record_pb2.System(samples=[sample]).SerializeToString(deterministic=True)


def seconds(timestamp: Timestamp) -> float:
    """Unix seconds; 0 where it says none."""
    at = timestamp.seconds + timestamp.nanos / 1e9
    return at if math.isfinite(at) and 0 < at < _TIME_END_S else 0.0
