import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt_proto.v1 import rows
from kelt_proto.v1.rows import ColumnKind, DamagedRowError, RowHeader, Schema

NAMES = st.text(min_size=1, max_size=12)
JSON_VALUES = st.lists(st.one_of(st.integers(), st.text(max_size=5), st.booleans()), max_size=4)
COLUMNS = st.one_of(
    st.tuples(st.just(ColumnKind.FLOAT), st.floats()),
    st.tuples(st.just(ColumnKind.INT), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(ColumnKind.BOOL), st.booleans()),
    st.tuples(st.just(ColumnKind.NONE), st.none()),
    st.tuples(st.just(ColumnKind.TEXT), st.text(max_size=30)),
    st.tuples(st.just(ColumnKind.JSON), JSON_VALUES),
)


def same(left, right):
    if isinstance(left, float) and math.isnan(left):
        return isinstance(right, float) and math.isnan(right)
    return type(left) is type(right) and left == right


@given(st.dictionaries(NAMES, COLUMNS, max_size=8), st.booleans(), st.integers(-1, rows.STEP_MAX))
def test_rows_read_back_exactly_with_their_types(columns, is_inline, step):
    schema = Schema(3, tuple(columns), tuple(kind for kind, _ in columns.values()))
    header = RowHeader(rows.INLINE_SCHEMA_ID if is_inline else 3, 2, step, 1.5, 2.5)
    payload = rows.encode_row(schema, header, [value for _, value in columns.values()])

    read = rows.decode_row(payload, {} if is_inline else {3: schema})

    assert read.header == header
    assert list(read.values) == list(columns)
    assert all(same(value, read.values[name]) for name, (_, value) in columns.items())


@given(st.dictionaries(NAMES, st.sampled_from(ColumnKind), max_size=30))
def test_schemas_read_back(columns):
    schema = Schema(9, tuple(columns), tuple(columns.values()))
    assert rows.decode_schema(schema.encode()) == schema


def test_text_that_is_not_valid_unicode_survives():
    schema = Schema(1, ("t",), (ColumnKind.TEXT,))
    payload = rows.encode_row(schema, RowHeader(1, 0, 0, 0.0, 0.0), ["lone \ud800"])
    assert rows.decode_row(payload, {1: schema}).values == {"t": "lone \ud800"}


def test_a_row_of_an_unknown_schema_is_damage_and_names_it():
    schema = Schema(1, ("a",), (ColumnKind.FLOAT,))
    payload = rows.encode_row(schema, RowHeader(1, 0, 0, 0.0, 0.0), [1.0])
    with pytest.raises(DamagedRowError, match="unknown schema 1"):
        rows.decode_row(payload, {})


@given(st.integers(0, 200))
def test_a_row_cut_anywhere_is_damage_or_nothing_else(kept):
    schema = Schema(1, ("a", "t"), (ColumnKind.FLOAT, ColumnKind.JSON))
    header = RowHeader(rows.INLINE_SCHEMA_ID, 0, 0, 0.0, 0.0)
    payload = rows.encode_row(schema, header, [1.0, ["text"]])
    if kept >= len(payload):
        assert rows.decode_row(payload, {}).values == {"a": 1.0, "t": ["text"]}
        return
    with pytest.raises(DamagedRowError):
        rows.decode_row(payload[:kept], {})


@given(st.binary(max_size=80))
def test_arbitrary_bytes_never_raise_anything_but_damage(payload):
    for read in (lambda: rows.decode_schema(payload), lambda: rows.decode_row(payload, {})):
        try:
            read()
        except DamagedRowError:
            continue


def test_the_layout_on_disk_is_what_the_description_says():
    schema = Schema(5, ("a", "n"), (ColumnKind.FLOAT, ColumnKind.TEXT))
    payload = rows.encode_row(schema, RowHeader(5, 1, 7, 1.0, 2.0), [0.5, "hé"])
    assert payload.hex() == (
        "05000000010000000700000000000000000000000000f03f0000000000000040"
        "000000000000e03f000000000300000068c3a9"
    )  # fmt: skip
