"""The types of columns: what is found grows with the cells, and has room for each of them."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kelt.media.cell_types import NONE, column_type, grown, optional, type_of
from kelt.media.image import Image

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=2), st.dates()
)
CELLS = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)


def nothing(_value):
    return None


@given(st.lists(CELLS, max_size=6))
def test_a_column_has_room_for_each_of_its_cells_or_for_anything(cells):
    found = column_type(cells, nothing)
    assume("invalid" not in str(found))  # the type of a mixed list, which W&B's client has as such
    for cell in cells:
        is_any = found == optional({"wb_type": "any"})
        assert grown(found, cell, nothing) is not None or is_any


@given(st.lists(PLAIN, max_size=6), st.randoms())
def test_the_type_of_plain_cells_does_not_depend_on_their_order(cells, random):
    shuffled = list(cells)
    random.shuffle(shuffled)
    assert column_type(shuffled, nothing) == column_type(cells, nothing)


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        ([], ["none", "unknown"]),
        ([None, float("nan")], ["none", "unknown"]),
        ([1, 2.5, None], ["none", "number"]),
        ([True, None], ["boolean", "none"]),
        ([1, "a"], ["any", "none"]),
        ([True, 1], ["any", "none"]),
        ([dt.date(2026, 1, 1), np.datetime64("2026-01-01")], ["none", "timestamp"]),
        ([np.float32(1), np.int64(2)], ["none", "number"]),
        ([np.zeros((2, 3))], ["ndarray", "none"]),
        ([np.zeros(2), np.zeros(3)], ["any", "none"]),
        ([[1], (2,), {3}], ["none", "list"]),
        ([b"x"], ["none", "pythonObject"]),
    ],
)
def test_a_column_is_of_the_types_of_its_cells(cells, names):
    found = column_type(cells, nothing)["params"]["allowed_types"]
    assert [member["wb_type"] for member in found] == names


def test_a_required_column_that_has_none_is_of_any_type():
    assert column_type([1, 2], nothing, is_optional=False) == {"wb_type": "number"}
    assert column_type([1, None], nothing, is_optional=False) == {"wb_type": "any"}


def test_not_a_number_is_none_wherever_it_stands():
    assert type_of(float("nan"), nothing) == NONE


def test_pictures_in_one_column_have_the_layers_of_all():
    def boxed(layer, number, name):
        box = {"class_id": number, "scores": {name: 1}}
        return Image("x.png", boxes={layer: {"box_data": [box], "class_labels": {number: name}}})

    pictures = [boxed("a", 1, "cat"), boxed("a", 2, "dog"), boxed("b", 1, "cow")]
    found = column_type(pictures, lambda picture: picture.type_document())
    params = found["params"]["allowed_types"][0]["params"]
    values = {name: said["params"]["val"] for name, said in params.items()}
    assert values["box_layers"] == {"a": [1, 2], "b": [1]}
    assert values["box_score_keys"] == ["cat", "cow", "dog"]
    assert values["box_class_maps"] == {"a": {"1": "cat", "2": "dog"}, "b": {"1": "cow"}}
    assert values["class_map"] == {"1": "cat", "2": "dog"}
