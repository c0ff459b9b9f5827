from __future__ import annotations

import datetime as dt
import decimal
import enum
import math

import numpy as np
import pytest

from kelt.errors import UsageError
from kelt.values import checked_step, column_of, columns, plain_value
from kelt_proto.v1.rows import ColumnKind

FLOAT, INT, BOOL, NONE, TEXT, JSON = ColumnKind


class Colour(enum.IntEnum):
    RED = 3


class Tensor:
    """What a tensor of PyTorch looks like from outside: on a GPU and wanting gradients."""

    def __init__(self, value, shape=()):
        self._value = value
        self.shape = shape
        self.dtype = "float32"
        self.requires_grad = True
        self.device = "cuda:0"

    def item(self):
        return self._value

    def __float__(self):
        raise RuntimeError("a tensor on a GPU")


@pytest.mark.parametrize(
    ("value", "kind", "plain"),
    [
        (1.5, FLOAT, 1.5),
        (3, INT, 3),
        (True, BOOL, True),
        (None, NONE, None),
        ("text", TEXT, "text"),
        ([1, "a", None], JSON, [1, "a", None]),
        ((1, 2), JSON, [1, 2]),
        ({}, JSON, {}),
        (2**63 - 1, INT, 2**63 - 1),
        (2**63, JSON, 2**63),
        (-(2**63), INT, -(2**63)),
        (float("inf"), FLOAT, float("inf")),
        (np.float64(2.5), FLOAT, 2.5),
        (np.float32(0.5), FLOAT, 0.5),
        (np.float16(0.5), FLOAT, 0.5),
        (np.longdouble(0.5), FLOAT, 0.5),
        (np.int64(7), INT, 7),
        (np.uint64(2**63), JSON, 2**63),
        (np.bool_(True), BOOL, True),
        (np.array(4), INT, 4),
        (np.array([4.5]), FLOAT, 4.5),
        (np.str_("s"), TEXT, "s"),
        (Tensor(0.25), FLOAT, 0.25),
        (Tensor(0.25, shape=(1,)), FLOAT, 0.25),
        (decimal.Decimal("0.5"), FLOAT, 0.5),
        (Colour.RED, INT, 3),
        ([np.float32(0.5), np.array(2)], JSON, [0.5, 2]),
    ],
)
def test_a_value_becomes_its_column(value, kind, plain) -> None:
    found = column_of(value, "k")
    assert found == (kind, plain)
    assert type(found[1]) is type(plain)


def test_not_a_number_stays() -> None:
    kind, value = column_of(float("nan"), "k")
    assert kind == FLOAT
    assert math.isnan(value)


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        object(),
        b"bytes",
        1j,
        dt.datetime.now(dt.timezone.utc),
        np.zeros(3),
        Tensor(0, shape=(2, 2)),
        [object()],
        np.datetime64("2026-01-01"),
    ],
)
def test_a_value_that_cannot_be_logged_is_refused_by_name(value) -> None:
    with pytest.raises(UsageError, match=r"kelt\.log: the value of 'the key(\[0\])?' is an? "):
        column_of(value, "the key")


def test_the_message_says_what_would_do() -> None:
    with pytest.raises(UsageError) as caught:
        column_of({1}, "x")
    assert str(caught.value) == (
        "kelt.log: the value of 'x' is a set; "
        "log numbers, strings, booleans, None, lists or nested dicts of these."
    )


def test_nested_dicts_flatten_with_dots_in_order() -> None:
    found = columns({"a": 1, "b": {"c": 2.0, "d": {"e": "x"}}, "f": {}})
    assert [(name, value) for name, _, value in found] == [
        ("a", 1),
        ("b.c", 2.0),
        ("b.d.e", "x"),
        ("f", {}),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({1: 2}, "the key 1 is an int; keys are strings: use '1'"),
        ({"": 2}, "a key is the empty string"),
        ({"a": {2: 1}}, "the key 2 is an int"),
        ({"k" * 1025: 1}, "takes more than 1024 bytes"),
        ({"a": {"b": 1}, "a.b": 2}, "'a.b' comes twice"),
    ],
)
def test_a_key_that_cannot_be_is_named(data, message) -> None:
    with pytest.raises(UsageError, match=message):
        columns(data)


def test_a_dict_in_itself_is_refused_and_not_followed_for_ever() -> None:
    loop: dict[str, object] = {}
    loop["again"] = loop
    with pytest.raises(UsageError, match="nested more than"):
        columns(loop)


@pytest.mark.parametrize("step", [True, 1.5, "3", -1, 2**62 + 1, None])
def test_a_step_that_cannot_be_is_refused(step) -> None:
    with pytest.raises(UsageError, match=r"kelt\.log: the step"):
        checked_step(step, 2**62)


def test_a_step_of_numpy_is_a_step() -> None:
    assert checked_step(np.int64(7), 2**62) == 7


def test_config_takes_arrays_sets_and_paths(tmp_path) -> None:
    assert plain_value(np.arange(3), "k", "kelt.config") == [0, 1, 2]
    assert plain_value({2, 1}, "k", "kelt.config") == [1, 2]
    assert plain_value(tmp_path, "k", "kelt.config") == str(tmp_path)
    with pytest.raises(UsageError, match=r"kelt\.config: the value of 'k\.x' is an object"):
        plain_value({"x": object()}, "k", "kelt.config")
