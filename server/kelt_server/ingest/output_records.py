"""What runs put out beside their history: console lines, system samples, pieces of files. Pure.

System samples lie in the metrics store like rows, on a branch of their own beside the run's, with
the millisecond in the place of the step. So they are paged, sampled and drawn by the same code, and
no history ever takes them in.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from google.protobuf.message import DecodeError

from kelt_proto.v1 import record_pb2, rows
from kelt_server import facts
from kelt_server.ingest.blocks import ControlRecord, Piece, kind_of, stack_rows

#: A longer line is cut, and says so.
LINE_CHARACTERS_MAX = 65_536
#: Of a line, and of the bytes of a file.
NUMBER_MAX = 2**62
_TIME_MAX_S = 2**40
_SYSTEM = "system/"
_NAME_BYTES_MAX = 4096


def system_branch(branch_id: str) -> str:
    """Under what the system samples of a branch lie in the metrics store."""
    return _SYSTEM + branch_id


def branch_of_system(name: str) -> str:
    """The branch whose system samples these are."""
    return name.removeprefix(_SYSTEM)


def step_of(seconds: float) -> int:
    """What stands in the place of a step: the millisecond."""
    return round(seconds * 1000)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Content that is kept under its digest."""

    object_id: str
    content: bytes


def console_lines(
    record: ControlRecord, *, branch_id: str, writer_id: bytes
) -> Iterator[facts.ConsoleFact]:
    """The lines of a record.

    Raises:
        DecodeError: it cannot be read.
    """
    for line in record_pb2.Console.FromString(record.payload).lines:
        yield facts.ConsoleFact(
            branch_id, writer_id, record.seq, min(line.number, NUMBER_MAX), int(line.stream),
            line.at if 0 < line.at < _TIME_MAX_S else 0.0, _storable(line.label),
            _storable(line.text),
        )  # fmt: skip


def system_rows(record: ControlRecord, *, received_at: float) -> Iterator[Piece]:
    """The samples of a record as rows. `received_at` dates those that have no date.

    Raises:
        DecodeError: it cannot be read.
    """
    samples: dict[int, tuple[rows.RowHeader, dict[str, Any]]] = {}
    for said in record_pb2.System.FromString(record.payload).samples:
        at = said.at if 0 < said.at < _TIME_MAX_S else received_at
        runtime = said.runtime if math.isfinite(said.runtime) else 0.0
        header = rows.RowHeader(0, 0, step_of(at), at, runtime)
        _, values = samples.setdefault(header.step, (header, {}))
        values |= {item.key: _value(item) for item in said.values}
    by_shape = groupby(samples.values(), key=lambda sample: _shape(sample[1]))
    for (names, kinds), alike in by_shape:
        schema = rows.Schema(0, names, kinds)
        payloads = [
            memoryview(rows.encode_row(schema, header, [values[name] for name in names]))
            for header, values in alike
        ]
        yield from stack_rows(schema, [record.seq] * len(payloads), payloads)


def file_piece(
    record: ControlRecord, *, writer_id: bytes
) -> tuple[facts.FilePieceFact, StoredObject]:
    """A piece of a file, and what is to be kept of it.

    Raises:
        DecodeError: it cannot be read, or it fits no file.
    """
    said = record_pb2.FilePiece.FromString(record.payload)
    parts = said.name.split("/")
    name_bytes = len(said.name.encode("utf-8", "surrogatepass"))
    if name_bytes > _NAME_BYTES_MAX or "\0" in said.name or not all(p.strip(".") for p in parts):
        raise DecodeError(f"{said.name[:100]!r} cannot be the name of a file")
    end_bytes = said.offset_bytes + len(said.content)
    if end_bytes > said.size_bytes or said.size_bytes > NUMBER_MAX:
        raise DecodeError(f"a piece that reaches beyond the end of the file {said.name!r}")
    found = StoredObject(hashlib.sha256(said.content).hexdigest(), said.content)
    fact = facts.FilePieceFact(
        said.writer_id or writer_id, writer_id, record.seq, said.name, said.version.hex(),
        said.size_bytes, said.offset_bytes, len(said.content), found.object_id,
        said.at if 0 < said.at < _TIME_MAX_S else 0.0,
    )  # fmt: skip
    return fact, found


def _shape(values: dict[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names = tuple(sorted(values))
    return names, tuple(kind_of(values[name]) for name in names)


def _value(item: record_pb2.JsonItem) -> Any:
    if not item.key or len(item.key.encode()) > rows.NAME_BYTES_MAX:
        raise DecodeError(f"{item.key[:60]!r} cannot name a value")
    try:
        return json.loads(item.json)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the value of {item.key!r} is not JSON: {error}") from error


def _storable(text: str) -> str:
    """As every database takes it: without NUL, and of bounded length."""
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(text) <= LINE_CHARACTERS_MAX:
        return text
    return f"{text[:LINE_CHARACTERS_MAX]}… ({len(text) - LINE_CHARACTERS_MAX} characters more)"
