"""The types of columns follow from all values of a metric."""

import math

import pytest

from kelt.exporting.columns import ColumnType, ColumnTypes


def settled(*values):
    types = ColumnTypes()
    for value in values:
        types.take({"_step": 0, "m": value})
    return types.settled()["m"]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, 2**63 - 1, None], ColumnType.INT),
        ([1, 0.5, math.nan], ColumnType.FLOAT),
        ([math.inf], ColumnType.FLOAT),
        ([True, None], ColumnType.BOOL),
        (["a", ""], ColumnType.TEXT),
        ([None], ColumnType.TEXT),
        ([2**63], ColumnType.JSON),
        ([2**53 + 1, 0.5], ColumnType.JSON),
        ([True, 1], ColumnType.JSON),
        (["a", 1], ColumnType.JSON),
        ([[1, 2]], ColumnType.JSON),
        ([{"_type": "image-file"}], ColumnType.JSON),
        (["\ud800"], ColumnType.JSON),
    ],
)
def test_a_column_loses_no_value_and_no_kind(values, wanted):
    assert settled(*values) is wanted


def test_columns_are_the_rows_own_then_metrics_by_name_or_as_they_were_asked_for():
    types = ColumnTypes()
    types.take({"b": 1, "a": 2, "_step": 3, "_timestamp": 0.0, "_runtime": 0.0})
    assert list(types.settled()) == ["_step", "_timestamp", "_runtime", "a", "b"]
    assert list(types.settled(["b", "c"])) == ["_step", "_timestamp", "_runtime", "b", "c"]
