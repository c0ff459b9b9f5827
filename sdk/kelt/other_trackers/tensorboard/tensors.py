"""The value of a tensor that holds one number, or texts. Pure."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

from kelt_proto.tensorboard.event_pb2 import Tensor

_STRING, _BFLOAT16 = 7, 14
#: By TensorFlow's types: how a number lies in `tensor_content`, and the field for a few of them.
_NUMBERS: Mapping[int, tuple[str, str]] = {
    1: ("<f", "float_val"),
    2: ("<d", "double_val"),
    3: ("<i", "int_val"),
    4: ("<B", "int_val"),
    5: ("<h", "int_val"),
    6: ("<b", "int_val"),
    9: ("<q", "int64_val"),
    10: ("<?", "bool_val"),
    17: ("<H", "int_val"),
    19: ("<e", "half_val"),
    22: ("<I", "uint32_val"),
    23: ("<Q", "uint64_val"),
}
_BITS = frozenset((19,))


class NoTensorError(ValueError):
    """Neither one number nor texts; the message says what it is."""


def tensor_value(tensor: Tensor) -> Any:
    """A number, a text, or a list of texts in the order in which they lie.

    Raises:
        NoTensorError: it is something else.
    """
    if tensor.dtype == _STRING:
        texts = [raw.decode("utf-8", "replace") for raw in tensor.string_val]
        return texts[0] if len(texts) == 1 else texts  # PyTorch makes a list of each
    size = math.prod(dim.size for dim in tensor.shape.dim)
    if size != 1:
        raise NoTensorError(f"{size} numbers")
    if tensor.dtype == _BFLOAT16:
        return _bfloat16(tensor)
    if tensor.dtype not in _NUMBERS:
        raise NoTensorError(f"numbers of type {tensor.dtype}")
    code, field = _NUMBERS[tensor.dtype]
    if tensor.tensor_content:
        return struct.unpack(code, tensor.tensor_content)[0]
    few = getattr(tensor, field)
    if not few:  # zeros are left out
        return struct.unpack(code, bytes(struct.calcsize(code)))[0]
    if tensor.dtype in _BITS:
        return struct.unpack(code, struct.pack("<H", few[0] & 0xFFFF))[0]
    return few[0]


def _bfloat16(tensor: Tensor) -> float:
    bits = tensor.tensor_content or struct.pack("<H", (tensor.half_val or [0])[0] & 0xFFFF)
    number: float = struct.unpack("<f", b"\0\0" + bits)[0]
    return number
