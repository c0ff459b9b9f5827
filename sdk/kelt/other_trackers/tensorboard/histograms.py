"""TensorBoard's histograms as W&B's client, and so kelt, has them in a row. Pure.

    {"_type": "histogram", "values": how many in each bin, "bins": its edges, one more than bins}

Empty bins at both ends, of which there are many, are left out.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

from kelt.other_trackers.tensorboard.tensors import NoTensorError
from kelt_proto.tensorboard.event_pb2 import Histogram, Tensor

_CODES = {1: "f", 2: "d"}
#: Left edge, right edge, count.
_COLUMNS = 3


def histogram_of_buckets(histogram: Histogram) -> dict[str, Any]:
    """As TensorFlow 1 and PyTorch write them.

    Raises:
        NoTensorError: it is none.
    """
    limits, counts = list(histogram.bucket_limit), list(histogram.bucket)
    if len(limits) != len(counts):
        raise NoTensorError(f"{len(counts)} buckets with {len(limits)} limits")
    return _made(counts, [-math.inf, *limits], histogram.min, histogram.max)


def histogram_of_tensor(tensor: Tensor) -> dict[str, Any]:
    """As TensorFlow 2 writes them: a bin a line.

    Raises:
        NoTensorError: it is none.
    """
    shape = [dim.size for dim in tensor.shape.dim]
    if tensor.dtype not in _CODES or len(shape) != 2 or shape[1] != _COLUMNS:  # noqa: PLR2004
        raise NoTensorError(f"a tensor of type {tensor.dtype} and shape {shape}")
    numbers: Sequence[float] = [*tensor.float_val, *tensor.double_val]
    if tensor.tensor_content:
        numbers = struct.unpack(
            f"<{shape[0] * _COLUMNS}{_CODES[tensor.dtype]}", tensor.tensor_content
        )
    if len(numbers) != shape[0] * _COLUMNS:
        raise NoTensorError(f"{len(numbers)} numbers in {shape[0]} bins")
    lefts, rights, counts = (numbers[column::_COLUMNS] for column in range(_COLUMNS))
    return _made(counts, list(chain(lefts[:1], rights)), -math.inf, math.inf)


def _made(
    counts: Sequence[float], edges: Sequence[float], lowest: float, highest: float
) -> dict[str, Any]:
    filled = [place for place, count in enumerate(counts) if count]
    if not filled:
        return {"_type": "histogram", "values": [], "bins": []}
    first, end = filled[0], filled[-1] + 1
    bins = [min(max(edge, lowest), highest) for edge in edges[first : end + 1]]
    values = [int(count) if count.is_integer() else count for count in counts[first:end]]
    return {"_type": "histogram", "values": values, "bins": bins}
