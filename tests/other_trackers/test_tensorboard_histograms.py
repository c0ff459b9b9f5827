"""Histograms keep their counts and edges; what is no histogram is named."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt.other_trackers.tensorboard.histograms import histogram_of_buckets, histogram_of_tensor
from kelt.other_trackers.tensorboard.tensors import NoTensorError
from kelt_proto.tensorboard.event_pb2 import Histogram, Shape, Tensor

COUNTS = st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), max_size=8)


def tensor(rows, *, dtype=2, columns=3):
    shape = Shape(dim=[Shape.Dim(size=len(rows)), Shape.Dim(size=columns)])
    numbers = [number for row in rows for number in row]
    content = struct.pack(f"<{len(numbers)}{'fd'[dtype - 1]}", *numbers)
    return Tensor(dtype=dtype, shape=shape, tensor_content=content)


def test_buckets_have_the_limits_between_and_the_values_own_at_the_ends():
    histogram = Histogram(
        min=-0.5, max=9.5, bucket_limit=[-2, -1, 0, 4, 1e308, math.inf], bucket=[0, 0, 2, 0, 3, 0]
    )
    found = histogram_of_buckets(histogram)
    assert found == {"_type": "histogram", "values": [2, 0, 3], "bins": [-0.5, 0, 4, 9.5]}


@given(COUNTS)
def test_every_value_is_in_a_bin_and_bins_go_up(counts):
    limits = [float(place) for place in range(len(counts))]
    filled = [place for place, count in enumerate(counts) if count]
    low, high = (filled[0] - 0.5, filled[-1] - 0.5) if filled else (0.0, 0.0)
    histogram = Histogram(min=low, max=high, bucket_limit=limits, bucket=counts)
    lines = [(place, place + 1, count) for place, count in enumerate(counts)]
    for found in (histogram_of_buckets(histogram), histogram_of_tensor(tensor(lines))):
        assert sum(found["values"]) == sum(counts)
        assert found["bins"] == sorted(found["bins"])
        assert len(found["bins"]) == len(found["values"]) + bool(filled)


@pytest.mark.parametrize(
    "wrong", [tensor([(0, 1)], columns=2), Tensor(dtype=7), tensor([(0.0, 1.0, 2.0)], columns=4)]
)
def test_what_is_no_histogram_is_named(wrong):
    with pytest.raises((NoTensorError, struct.error)):
        histogram_of_tensor(wrong)
    with pytest.raises(NoTensorError, match="2 buckets with 1 limits"):
        histogram_of_buckets(Histogram(bucket=[1, 2], bucket_limit=[1]))
