"""Whatever a script logs can be carried, or is left out and told of: never an error."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt.run_config import checked_config
from kelt.values import columns
from kelt.wandb_api import media
from kelt.wandb_api.carrying import carried_config, carried_row
from kelt_proto.v1.rows import ColumnKind


class Colour(enum.Enum):
    RED = 1


class Odd:
    def __str__(self) -> str:
        return "odd"


@dataclasses.dataclass
class Setting:
    lr: float


def carried(value: Any) -> tuple[Any, list[str]]:
    told: list[str] = []
    row = carried_row({"v": value, "other": 1}, told.append)
    assert row.pop("other") == 1
    columns({"v": 1, **row})  # what kelt.log takes
    return row.get("v", "left out"), told


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5), (np.array(2), 2), (np.array([[3.5]]), 3.5),
        (np.arange(3), [0, 1, 2]), (np.array([[1, 2]]), [[1, 2]]), ((1, 2), [1, 2]),
        ({"a": {1: 2}}, {"a": {"1": 2}}), (Colour.RED, "RED"), (b"x", "x"), (Odd(), "odd"),
        (dt.date(2026, 1, 2), "2026-01-02"), (len, "builtins.len"), (Setting(lr=0.1), {"lr": 0.1}),
        ({5}, [5]), (10**30, 10**30),
    ],
)  # fmt: skip
def test_what_is_no_plain_value_is_carried_as_wandb_does(value, expected):
    assert carried(value) == (expected, [])


def test_a_long_array_becomes_a_histogram():
    value, told = carried(np.arange(64))
    assert columns({"v": value}) == [("v", ColumnKind.JSON, value)]  # described: one value
    assert (value["_type"], sum(value["values"]), len(value["bins"])) == ("histogram", 64, 33)
    assert not told


def test_an_array_that_has_no_histogram_is_left_out():
    assert carried(np.full(50, np.nan)) == ("left out", ["a ndarray that is no histogram"])


def test_pictures_are_left_out_and_the_rest_of_the_row_is_kept():
    assert carried(media.Image(np.zeros((2, 2)), caption="c")) == ("left out", ["wandb.Image"])
    assert carried([media.Image(1), media.Image(2)]) == ("left out", ["wandb.Image"] * 2)
    assert carried({"a": media.Html("x"), "b": 1}) == ({"b": 1}, ["wandb.Html"])


def test_a_table_is_carried_without_its_pictures():
    table = media.Table(columns=["n", "what"], data=[[np.int64(1), media.Image(1)]])
    table.add_data(2, "two")
    assert carried(table) == (
        {"_type": "table", "columns": ["n", "what"], "data": [[1, None], [2, "two"]], "nrows": 2},
        ["wandb.Image"],
    )
    frame = pd.DataFrame({"a": [1, 2]})
    assert carried(frame)[0]["data"] == [[1], [2]]


def test_of_a_long_table_the_beginning_is_carried():
    value, told = carried(media.Table(columns=["t"], data=[["x" * 1000]] * 5000))
    assert len(value["data"]) == media.TABLE_BYTES_MAX // 1004
    assert value["nrows"] == 5000
    assert told == ["the end of a long wandb.Table"]


ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
        st.sampled_from([Odd(), Colour.RED, len, media.Image(1), media.Histogram([1, 2]), object()]),
        st.datetimes(), st.complex_numbers(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.none()), inner, max_size=4),
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING)
def test_anything_at_all_can_be_put_into_a_config(value):
    checked_config(carried_config({"key": value}, print))


@given(ANYTHING)
def test_anything_at_all_can_be_logged(value):
    row = carried_row({"key": {"inner": [value]}}, print)
    columns(row)
