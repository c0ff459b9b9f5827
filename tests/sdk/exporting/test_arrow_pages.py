"""Pages in Arrow hold the same rows, and the same tables, as what is read row by row."""

import json
import math

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from kelt.exporting.arrow_pages import ArrowGetter, PageSpool
from kelt.exporting.columns import ColumnTypes
from kelt.exporting.parquet import tables_of_rows

CELL = pa.struct(
    [("key", pa.int32()), ("kind", pa.uint8()), ("value", pa.float64()), ("text", pa.string())]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3)
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2))
#: A metric is often of one kind, which columns are made for.
ROWS = st.sampled_from(
    [VALUES, st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans()]
).flatmap(
    lambda values: st.lists(st.dictionaries(st.sampled_from("abc"), values, max_size=3), max_size=6)
)


def cell(number, value):
    kind, held, text = 6, 0.0, None
    if isinstance(value, bool):
        kind, held = 3, float(value)
    elif isinstance(value, float):
        kind, held = 1, value
    elif isinstance(value, int):
        kind, held = 2, float(value)
        text = str(value) if abs(value) > 2**53 else None
    elif value is None:
        kind = 4
    elif isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value):
        kind, text = 5, value
    else:
        kind, text = 6, json.dumps(value)
    return {"key": number, "kind": kind, "value": held, "text": text}


def body(rows, first_step, after):
    """A page as the read API has it."""
    keys = sorted({key for row in rows for key in row})
    columns = {
        "step": pa.array(range(first_step, first_step + len(rows)), pa.int64()),
        "timestamp": pa.array([0.5] * len(rows), pa.float64()),
        "runtime": pa.array([1.5] * len(rows), pa.float64()),
        "flags": pa.array([0] * len(rows), pa.uint32()),
        "immutable_id": pa.array(["branch"] * len(rows)),
        "writer_id": pa.array(["0a"] * len(rows)),
        "cells": pa.array(
            [[cell(keys.index(key), row[key]) for key in sorted(row)] for row in rows],
            pa.list_(CELL),
        ),
    }
    about = json.dumps({"keys": keys, "next": after, "labels": {"0a": "rank_1"}})
    table = pa.table(columns).replace_schema_metadata({"kelt": about})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


class Pages:
    """A connection to a server that has two pages."""

    def __init__(self, first, second):
        self.bodies = {None: body(first, 0, "more"), "more": body(second, len(first), None)}

    def body(self, _route, arguments):
        assert ("format", "arrow") in arguments
        return self.bodies[dict(arguments).get("after")]


def whole(rows):
    own = {"_timestamp": 0.5, "_runtime": 1.5}
    return [{"_step": step} | own | row for step, row in enumerate(rows)]


def is_same(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and repr(one) == repr(other)


@given(ROWS)
def test_rows_are_those_that_were_logged(rows):
    page = ArrowGetter(Pages(rows, [])).get("/history")
    assert page["next"] == "more"
    for step, (item, row) in enumerate(zip(page["rows"], rows, strict=True)):
        assert (item["step"], item["label"], item["immutable_id"]) == (step, "rank_1", "branch")
        assert item["values"].keys() == row.keys()
        assert all(is_same(item["values"][key], row[key]) for key in row)


@given(ROWS, ROWS, st.one_of(st.none(), st.just(["b", "d"])))
def test_tables_are_those_that_rows_make(tmp_path_factory, first, second, wanted):
    types = ColumnTypes()
    rows = whole(first + second)
    for row in rows:
        types.take(row)
    spool = PageSpool(tmp_path_factory.mktemp("spool") / "pages", wanted=wanted)
    spool.fill(ArrowGetter(Pages(first, second)).bodies("/history", []))
    columns = spool.types.settled(wanted)
    assert columns == types.settled(wanted)
    found = [row for table in spool.tables(columns) for row in table.to_pylist()]
    if wanted is not None:
        rows = [row for row in rows if not row.keys().isdisjoint(wanted)]
    expected = [row for table in tables_of_rows(rows, columns) for row in table.to_pylist()]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        assert all(is_same(one[name], other[name]) for name in one)
