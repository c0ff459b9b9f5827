"""One page of merged rows out of DuckDB, as an Arrow table in the wire's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from kelt_server.metrics import duckdb_schema
from kelt_server.metrics.duckdb_points import SpanRow, points_sql, rows_sql
from kelt_server.metrics.duckdb_schema import JOIN_SPANS
from kelt_server.metrics.store import Page, PageRequest, RowKey

_Ints = npt.NDArray[np.int64]
_CELL = pa.struct(
    [("key", pa.int32()), ("kind", pa.uint8()), ("value", pa.float64()), ("text", pa.string())]
)
_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("timestamp", pa.float64()),
        ("runtime", pa.float64()),
        ("flags", pa.uint32()),
        ("immutable_id", pa.string()),
        ("writer_id", pa.string()),
        ("cells", pa.list_(_CELL)),
    ]
)
#: How many steps are looked at first, for each row of the page; how much further then, how often.
_FIRST_LOOK, _FURTHER, _LOOKS = 1.25, 16, 4
_ORDER = "step, position, rank, relative, first_seq"


@dataclass(frozen=True, slots=True)
class Names:
    """What the numbers in the tables stand for."""

    branches: Mapping[int, bytes]
    writers: Mapping[int, bytes]
    metrics: Mapping[int, bytes]


def empty_page() -> Page:
    """No rows, and none to come."""
    return Page(_SCHEMA.empty_table(), (), None)


def read_page(
    cursor: duckdb.DuckDBPyConnection,
    request: PageRequest,
    spans: Sequence[SpanRow],
    metrics: Sequence[int | None] | None,
    names: Names,
) -> Page:
    """Finds the page's rows first, then their points. `spans` and `ranks` are bound already."""
    keys = _row_keys(cursor, request, spans, metrics)
    has_more = request.samples is None and len(keys) > request.limit
    if has_more:
        keys = keys.slice(0, request.limit)
    if not len(keys):
        return empty_page()
    keys = keys.append_column("row", pa.array(np.arange(len(keys), dtype=np.int64)))
    cursor.register("page", keys)
    points = cursor.sql(_page_points_sql(keys, spans, metrics)).to_arrow_table().combine_chunks()
    last = keys.slice(len(keys) - 1).to_pylist()[0]
    after = RowKey(
        last["step"], last["position"], last["rank"], last["relative"], last["first_seq"]
    )
    table, metric_names = _wire_table(keys, points, names)
    return Page(table, metric_names, after if has_more else None)


def _row_keys(
    cursor: duckdb.DuckDBPyConnection,
    request: PageRequest,
    spans: Sequence[SpanRow],
    metrics: Sequence[int | None] | None,
) -> pa.Table:
    """Looks at the next steps first: to merge all rows that follow, for each page, takes long."""
    first = _first_step(request)
    if request.samples is None:
        if first is None:
            sql = f"SELECT min(t.step + s.shift) FROM {rows_sql(spans)} t {JOIN_SPANS}"  # noqa: S608
            ((first,),) = cursor.execute(sql).fetchall()
            if first is None:
                return _keys_within(cursor, request, spans, metrics)
        width = int((request.limit + 1) * _FIRST_LOOK) + 1
        for _ in range(_LOOKS):
            last = first + width
            if request.step_max is not None and last >= request.step_max:
                break
            near = replace(request, step_min=first, step_max=last)
            keys = _keys_within(cursor, near, spans, metrics)
            if len(keys) > request.limit:
                return keys
            width *= _FURTHER
    return _keys_within(cursor, request, spans, metrics)


def _first_step(request: PageRequest) -> int | None:
    if request.after is None:
        return request.step_min
    after = request.after.step
    return after if request.step_min is None else max(request.step_min, after)


def _keys_within(
    cursor: duckdb.DuckDBPyConnection,
    request: PageRequest,
    spans: Sequence[SpanRow],
    metrics: Sequence[int | None] | None,
) -> pa.Table:
    after, steps = request.after, (_first_step(request), request.step_max)
    bounds = zip((">=", "<="), steps, strict=True)
    limits = [f"t.step + s.shift {sign} {step}" for sign, step in bounds if step is not None]
    where = f"WHERE {' AND '.join(limits)}" if limits else ""
    keys = duckdb_schema.ROW_KEYS.format(
        rows=rows_sql(spans, steps), where=where, ranked=len(request.ranks)
    )
    sql = f"SELECT * FROM ({keys}) k"  # noqa: S608 # integers of our own
    if metrics:
        wanted = {number for number in metrics if number is not None}
        having = f"""SELECT branch, writer, relative, step AS stored_step
            FROM ({points_sql(spans, wanted, steps=steps)})
            GROUP BY ALL HAVING count(DISTINCT metric) = {len(set(metrics))}"""  # noqa: S608
        sql += f" SEMI JOIN ({having}) h USING (branch, writer, relative, stored_step)"
    if after is not None:
        place = f"{after.step}, {after.position}, {after.rank}, {after.relative}, {after.first_seq}"
        sql += f" WHERE ({_ORDER}) > ({place})"
    sql += f" ORDER BY {_ORDER}"
    if request.samples is None:
        return cursor.sql(f"{sql} LIMIT {request.limit + 1}").to_arrow_table()
    return _sampled(cursor.sql(sql).to_arrow_table(), request.samples)


def _sampled(keys: pa.Table, samples: int) -> pa.Table:
    """At most so many rows, evenly, the first and the last among them."""
    count = len(keys)
    if count <= samples:
        return keys
    if samples == 1:
        return keys.slice(count - 1)
    return keys.take(pa.array((np.arange(samples, dtype=np.int64) * (count - 1)) // (samples - 1)))


def _page_points_sql(
    keys: pa.Table, spans: Sequence[SpanRow], metrics: Sequence[int | None] | None
) -> str:
    """The points of the page's rows; bounds on the step spare reading the others."""
    steps = keys["step"].to_numpy()
    wanted = None if not metrics else {number for number in metrics if number is not None}
    points = points_sql(spans, wanted, steps=(int(steps.min()), int(steps.max())))
    joined = f"""({points}) t JOIN page p ON t.branch = p.branch AND t.writer = p.writer
        AND t.relative = p.relative AND t.step = p.stored_step AND t.position = p.position"""
    if bool((keys["parts"].to_numpy() > 1).any()):
        return f"""SELECT p.row, t.metric, arg_max(t.kind, t.seq) AS kind,
            arg_max(t.value, t.seq) AS value, arg_max(t.text, t.seq) AS text
            FROM {joined} GROUP BY p.row, t.metric ORDER BY p.row, t.metric"""  # noqa: S608
    return f"""SELECT p.row, t.metric, t.kind, t.value, t.text
        FROM {joined} ORDER BY p.row, t.metric"""  # noqa: S608


def _wire_table(keys: pa.Table, points: pa.Table, names: Names) -> tuple[pa.Table, tuple[str, ...]]:
    metric_numbers, key_index = _distinct(points["metric"].to_numpy())
    counts = np.bincount(points["row"].to_numpy(), minlength=len(keys))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    texts = points["text"].combine_chunks()
    kinds = points["kind"].to_numpy().astype(np.uint8)
    is_text = kinds >= 5  # noqa: PLR2004 # rows.ColumnKind.TEXT and what follows it
    has_text = is_text | (np.asarray(pa.compute.binary_length(texts)) > 0)
    if not has_text.all():
        texts = pa.compute.if_else(pa.array(has_text), texts, pa.scalar(None, pa.string()))
    cells = pa.StructArray.from_arrays(
        [
            pa.array(key_index.astype(np.int32)),
            pa.array(kinds),
            pa.array(points["value"].to_numpy()),
            texts,
        ],
        fields=list(_CELL),
    )
    columns: dict[str, Any] = {
        "step": keys["step"],
        "timestamp": keys["timestamp"],
        "runtime": keys["runtime"],
        "flags": keys["flags"].cast(pa.uint32()),
        "immutable_id": _decoded(keys["branch"], names.branches, hexed=False),
        "writer_id": _decoded(keys["writer"], names.writers, hexed=True),
        "cells": pa.ListArray.from_arrays(pa.array(offsets), cells),
    }
    table = pa.table(list(columns.values()), schema=_SCHEMA)
    decoded = tuple(
        names.metrics[number].decode("utf-8", "surrogatepass") for number in metric_numbers.tolist()
    )
    return table, decoded


def _distinct(numbers: _Ints) -> tuple[_Ints, _Ints]:
    """As NumPy's unique with the inverse, for small numbers: without sorting."""
    is_there = np.zeros(int(numbers.max(initial=-1)) + 1, np.bool_)
    is_there[numbers] = True
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[numbers]


def _decoded(numbers: Any, names: Mapping[int, bytes], *, hexed: bool) -> Any:
    distinct, index = _distinct(numbers.to_numpy())
    texts = [
        names[number].hex() if hexed else names[number].decode("utf-8", "replace")
        for number in distinct.tolist()
    ]
    return pa.array(texts, pa.string()).take(pa.array(index))
