"""Rows of nothing but numbers, read without a message for each value: most rows of most files.

A value of such a row is, byte for byte, an item's tag and length, its name's, its number's. One
pattern takes all of them apart at once, which takes a third of the time. What it does not fit
(other values, long or nested names, more digits than a double holds) and what has not been seen
before is left to the row builder: both make the same of a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

import orjson

from kelt.wandb_files.row_shapes import RowShape
from kelt_proto.v1.rows import STEP_MAX, ColumnKind

STEP_KEY, TIMESTAMP_KEY, RUNTIME_KEY = "_step", "_timestamp", "_runtime"
#: A HistoryItem of a `nested_key` of one part and a `value_json`, with its own tag and length.
#: Lengths are single bytes. They are not compared: between two matches there may be nothing, and
#: the bytes of a name or number are none of a tag.
_ITEM = re.compile(
    rb"\x0a.\x12.([\x20-\x7e]+)\x82\x01."
    rb"(?!-0(?:[\x0a\x12]|\Z))(-?[0-9]{1,15}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)",
    re.DOTALL,
)
_STEP_TAG = b"\x12"
_LAYOUTS_MAX = 256


class NumberRow(NamedTuple):
    """A row that was read. `values` follow `names`; whether they fit the shape, packing tells."""

    step: int
    timestamp: float
    runtime: float
    names: tuple[str, ...]
    values: Sequence[float]
    shape: RowShape


class _Layout(NamedTuple):
    shape: RowShape
    names: tuple[str, ...]
    choose: Callable[[dict[bytes, bytes]], tuple[bytes, ...]]


class NumberRows:
    """Reads the rows of one file that are like rows which were built before."""

    def __init__(self) -> None:
        self._layouts: dict[frozenset[bytes], _Layout] = {}
        self._fractions = 0

    def learn(self, names: tuple[str, ...], shape: RowShape, *, fractions: int) -> None:
        """Remembers how a row was built.

        Args:
            names: of its columns, in their order.
            shape: it has.
            fractions: how many metrics were fractions by then. One more may change any shape.
        """
        kinds = shape.schema.kinds
        if shape.pack is None or not {ColumnKind.FLOAT, ColumnKind.INT}.issuperset(kinds):
            return
        if fractions != self._fractions or len(self._layouts) >= _LAYOUTS_MAX:
            self._layouts.clear()
            self._fractions = fractions
        own = (STEP_KEY, TIMESTAMP_KEY, RUNTIME_KEY)
        keys = tuple(name.encode("utf-8", "surrogatepass") for name in (*own, *names))
        self._layouts[frozenset(keys)] = _Layout(shape, names, itemgetter(*keys))

    def read(self, raw: bytes, *, fractions: int) -> NumberRow | None:
        """A `History` message; None where the row builder must read it."""
        if fractions != self._fractions or not self._layouts:
            return None
        parts = _ITEM.split(raw)
        rest = parts[-1]
        if any(parts[:-1:3]) or (rest and not _is_step(rest)):
            return None
        texts = dict(zip(parts[1::3], parts[2::3], strict=True))
        layout = self._layouts.get(frozenset(texts))
        if layout is None or len(texts) * 3 + 1 != len(parts):
            return None
        try:
            step, timestamp, runtime, *row = orjson.loads(b"[%b]" % b",".join(layout.choose(texts)))
        except orjson.JSONDecodeError:
            return None
        if type(step) is not int or not 0 <= step <= STEP_MAX:
            return None
        return NumberRow(step, timestamp, runtime, layout.names, row, layout.shape)


def _is_step(raw: bytes) -> bool:
    """Whether this is the field `step` of a History, which says what `_step` says."""
    return raw[:1] == _STEP_TAG and len(raw) >= 2 and raw[1] == len(raw) - 2  # noqa: PLR2004 # tag and length
