"""Console lines of runs as the read API answers them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from kelt_proto.v1.record_pb2 import ConsoleLine as Record
from kelt_server.api.history import arrow_bytes
from kelt_server.consoles import ConsolePage, ConsolePlace

_COLUMNS = pa.schema(
    [
        ("number", pa.int64()),
        ("stream", pa.string()),
        ("at", pa.float64()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("immutable_id", pa.string()),
        ("writer_id", pa.string()),
    ]
)


def console_json(page: ConsolePage) -> dict[str, Any]:
    """A page of the console as JSON."""
    return {"lines": _lines(page), **_about(page)}


def console_arrow(page: ConsolePage) -> bytes:
    """A page of the console as an Arrow IPC stream."""
    table = pa.Table.from_pylist(_lines(page), schema=_COLUMNS)
    return arrow_bytes(table.replace_schema_metadata({"kelt": json.dumps(_about(page))}))


def _lines(page: ConsolePage) -> list[dict[str, Any]]:
    return [
        {
            "number": found.line.number,
            "stream": "stderr" if found.line.stream == Record.STDERR else "stdout",
            "at": found.line.at or None,
            "text": found.line.text,
            "label": found.label,
            "immutable_id": found.branch_id,
            "writer_id": found.writer_id.hex(),
        }
        for found in page.lines
    ]


def _about(page: ConsolePage) -> dict[str, Any]:
    last = page.lines[-1] if page.lines else None
    place = None
    if last is not None:
        place = ConsolePlace(last.writer_id, last.branch_id, last.line.number).token()
    return {
        "next": place if page.has_more else None,
        "last": place,
        "total": page.total,
        "dropped": page.dropped,
    }
