"""Rows and buckets on the wire, as the package's page describes them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from kelt_proto.v1.rows import FLAG_PARTIAL, FLAG_STEP_WENT_DOWN
from kelt_server.bands import Banded
from kelt_server.errors import BadRequestError
from kelt_server.histories import Bucketed, Writers
from kelt_server.metrics.store import Page, RowKey
from kelt_server.values import cell_parts_value, plain

_FLAGS = ((FLAG_STEP_WENT_DOWN, "step_went_down"), (FLAG_PARTIAL, "partial"))


def write_token(key: RowKey, writers: Writers) -> str:
    """Where to go on. It names the writer, because its rank changes when sessions arrive."""
    writer = writers.ids[key.rank].hex() if key.rank < len(writers.ids) else ""
    place = [key.step, key.position, writer, key.rank, key.relative, key.first_seq]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[RowKey, bytes]:
    """The place in a token, with the writer whose rank it needs.

    Raises:
        BadRequestError: it is none of ours.
    """
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        step, position, writer, rank, relative, first_seq = place
        key = RowKey(int(step), int(position), int(rank), int(relative), int(first_seq))
        return key, bytes.fromhex(writer)
    except (ValueError, TypeError, binascii.Error) as error:
        raise BadRequestError(
            f"after={token!r} is not a continuation; give the `next` of the page before"
        ) from error


def page_json(page: Page, token: str | None, writers: Writers) -> dict[str, Any]:
    """A page of rows as JSON."""
    labels = {writer_id.hex(): label for writer_id, label in writers.labels.items()}
    table = page.table.combine_chunks()
    cells = table["cells"].combine_chunks() if len(table) else None
    names = [table[name].to_pylist() for name in table.column_names[:-1]]
    values = _row_values(cells, page.keys) if cells is not None else []
    rows = [
        {
            "step": step,
            "timestamp": plain(timestamp),
            "runtime": plain(runtime),
            "flags": [name for bit, name in _FLAGS if flags & bit],
            "immutable_id": branch,
            "writer_id": writer,
            "label": labels.get(writer, ""),
            "values": logged,
        }
        for step, timestamp, runtime, flags, branch, writer, logged in zip(
            *names, values, strict=True
        )
    ]
    return {"rows": rows, "next": token}


def _row_values(cells: Any, keys: Sequence[str]) -> list[dict[str, Any]]:
    cells = cells.chunk(0) if isinstance(cells, pa.ChunkedArray) else cells
    flat = cells.flatten()
    offsets = (cells.offsets.to_numpy() - cells.offsets[0].as_py()).tolist()
    key_index, kinds, numbers, texts = (
        flat.field(name).to_pylist() for name in ("key", "kind", "value", "text")
    )
    logged = [
        plain(cell_parts_value(kind, number, text))
        for kind, number, text in zip(kinds, numbers, texts, strict=True)
    ]
    return [
        {keys[key_index[cell]]: logged[cell] for cell in range(begin, end)}
        for begin, end in pairwise(offsets)
    ]


def page_arrow(page: Page, token: str | None, writers: Writers) -> bytes:
    """A page of rows as an Arrow IPC stream."""
    labels = {writer_id.hex(): label for writer_id, label in writers.labels.items()}
    about = json.dumps({"keys": list(page.keys), "next": token, "labels": labels})
    return arrow_bytes(page.table.replace_schema_metadata({"kelt": about}))


def buckets_json(found: Bucketed, keys: Sequence[str]) -> dict[str, Any]:
    """Buckets as JSON, by key."""
    by_key: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    for bucket in found.buckets:
        begin = found.step_min + bucket.number * found.width
        by_key[bucket.metric].append(
            {
                "from": begin,
                "to": min(begin + found.width - 1, found.step_max),
                "count": bucket.count,
                "nan": bucket.nan_count,
                "min": plain(bucket.minimum),
                "max": plain(bucket.maximum),
                "mean": plain(bucket.mean),
            }
        )
    return {
        "min_step": found.step_min,
        "max_step": found.step_max,
        "width": found.width,
        "keys": by_key,
    }


def buckets_arrow(found: Bucketed) -> bytes:
    """Buckets as an Arrow IPC stream."""
    buckets = found.buckets
    begins = [found.step_min + bucket.number * found.width for bucket in buckets]
    ends = [min(begin + found.width - 1, found.step_max) for begin in begins]
    columns = {
        "key": pa.array([bucket.metric for bucket in buckets], pa.string()),
        "from": pa.array(begins, pa.int64()),
        "to": pa.array(ends, pa.int64()),
        "count": pa.array([bucket.count for bucket in buckets], pa.int64()),
        "nan": pa.array([bucket.nan_count for bucket in buckets], pa.int64()),
        "min": pa.array([bucket.minimum for bucket in buckets], pa.float64()),
        "max": pa.array([bucket.maximum for bucket in buckets], pa.float64()),
        "mean": pa.array([bucket.mean for bucket in buckets], pa.float64()),
    }
    return arrow_bytes(pa.table(columns))


def bands_json(found: Banded, keys: Sequence[str], quantiles: Sequence[float]) -> dict[str, Any]:
    """Bands as JSON, by group and key."""
    groups: list[dict[str, Any]] = [
        {"by": group.by, "runs": list(group.branch_ids), "keys": {key: [] for key in keys}}
        for group in found.groups
    ]
    for band in found.bands:
        begin = found.step_min + band.number * found.width
        groups[band.group]["keys"][band.metric].append(
            {
                "from": begin,
                "to": min(begin + found.width - 1, found.step_max),
                "runs": band.runs,
                "count": band.count,
                "nan": band.nan_count,
                "min": plain(band.minimum),
                "max": plain(band.maximum),
                "mean": plain(band.mean),
                "std": plain(band.deviation),
                "quantiles": plain(band.quantiles),
            }
        )
    return {
        "min_step": found.step_min,
        "max_step": found.step_max,
        "width": found.width,
        "quantiles": list(quantiles),
        "groups": groups,
    }


def bands_arrow(found: Banded, quantiles: Sequence[float]) -> bytes:
    """Bands as an Arrow IPC stream; the groups are told in its metadata."""
    bands = found.bands
    begins = [found.step_min + band.number * found.width for band in bands]
    columns: dict[str, Any] = {
        "group": pa.array([band.group for band in bands], pa.int32()),
        "key": pa.array([band.metric for band in bands], pa.string()),
        "from": pa.array(begins, pa.int64()),
        "to": pa.array([min(b + found.width - 1, found.step_max) for b in begins], pa.int64()),
        "runs": pa.array([band.runs for band in bands], pa.int64()),
        "count": pa.array([band.count for band in bands], pa.int64()),
        "nan": pa.array([band.nan_count for band in bands], pa.int64()),
        "min": pa.array([band.minimum for band in bands], pa.float64()),
        "max": pa.array([band.maximum for band in bands], pa.float64()),
        "mean": pa.array([band.mean for band in bands], pa.float64()),
        "std": pa.array([band.deviation for band in bands], pa.float64()),
        "quantiles": pa.array([band.quantiles for band in bands], pa.list_(pa.float64())),
    }
    groups = [{"by": group.by, "runs": list(group.branch_ids)} for group in found.groups]
    about = json.dumps({"groups": groups, "quantiles": list(quantiles)})
    return arrow_bytes(pa.table(columns).replace_schema_metadata({"kelt": about}))


def arrow_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
