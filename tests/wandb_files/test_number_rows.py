"""Rows of numbers are what the row builder makes of them, however they are read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt.wandb_files.number_rows import NumberRows
from kelt.wandb_files.row_building import RowBuilder, UnfitRowError
from kelt_proto.wandb.wandb_record_pb2 import History


def message(texts, *, step=None):
    items = [{"nested_key": [name], "value_json": text} for name, text in texts]
    history = History(item=items, step=None if step is None else {"num": step})
    return history.SerializeToString()


def of_values(values):
    own = {"_step": 3, "_timestamp": 1.7e9, "_runtime": 2.5}
    return message([(name, json.dumps(value)) for name, value in (values | own).items()])


class _LearnsNothing(NumberRows):
    def learn(self, *_, **__):
        """So that it reads nothing."""


class _Counts(NumberRows):
    rows = 0

    def read(self, raw, *, fractions):
        found = super().read(raw, fractions=fractions)
        self.rows += found is not None
        return found


def builder(numbers):
    return RowBuilder(may_be_relative=False, numbers=numbers)


def built(rows, numbers):
    """What comes of each row, in full; what cannot be one by its message."""
    made, by = [], builder(numbers)
    for raw in rows:
        try:
            made.append(by.build(raw, timestamp=1.0))
        except UnfitRowError as error:
            made.append(str(error))
    return repr(made)


_TEXTS = st.one_of(
    st.floats().map(json.dumps),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(
        ["0", "-0", "-0.0", "1e5", "1E+3", "1e999", "-1e-400", "007", "9007199254740993", "1.", "-"]
    ),
    st.sampled_from(["true", "null", '"7"', "[1]", '{"a":1}', ""]),
)
_NAMES = st.sampled_from(["a", "b", "a.b", "é", "x" * 130, "_step", "c\n"])
_ROWS = st.lists(
    st.tuples(
        st.lists(st.tuples(_NAMES, _TEXTS), max_size=5),
        st.permutations(["_step", "_timestamp", "_runtime"]),
        st.sampled_from([None, 3, 200]),
    ),
    max_size=12,
)


@given(rows=_ROWS)
def test_reading_numbers_at_once_changes_no_row(rows):
    own = {"_step": "3", "_timestamp": "1700000000.5", "_runtime": "2.5"}
    raws = [
        message([*texts, *((name, own[name]) for name in order)], step=step)
        for texts, order, step in rows
    ]
    assert built(raws, NumberRows()) == built(raws, _LearnsNothing())


@pytest.mark.parametrize("number", [0.5, 7])
def test_rows_of_numbers_are_read_at_once_in_whatever_order_their_values_stand(number):
    numbers = _Counts()
    by = builder(numbers)
    for row in ({"a": number, "b": 0.25}, {"b": 0.75, "a": number}, {"a": number, "b": 1}):
        by.build(of_values(row), timestamp=1.0)
    assert numbers.rows == 2


def test_a_metric_that_becomes_a_fraction_stays_one():
    by = builder(_Counts())
    rows = [by.build(of_values({"a": value}), timestamp=1.0) for value in (1, 2, 0.5, 3)]
    assert [row.schema.schema_id for row in rows] == [0, 0, 1, 1]


def test_bytes_between_the_values_are_not_passed_over():
    numbers = NumberRows()
    by = builder(numbers)
    raw = of_values({"a": 1.5})
    by.build(raw, timestamp=1.0)
    unknown = b"\x1a\x01x"  # a field that a newer W&B might add
    assert numbers.read(raw, fractions=1) is not None
    assert numbers.read(unknown + raw, fractions=1) is None
    assert numbers.read(raw + unknown, fractions=1) is None
