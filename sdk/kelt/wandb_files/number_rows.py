"""Rows of nothing but numbers, read without a message for each value: most rows of most files.

A value of such a row is, byte for byte, an item's tag and length, its name's, its number's. One
pattern finds all of them, and one call of a JSON reader the numbers, which takes a fifth of the
time. What is left to the row builder: rows with other names than those that were built before, or
with other values than numbers of a few digits. Both make the same of a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from kelt.wandb_files.row_shapes import RowShape
from kelt_proto.v1.rows import STEP_MAX, ColumnKind

STEP_KEY, TIMESTAMP_KEY, RUNTIME_KEY = "_step", "_timestamp", "_runtime"
#: A HistoryItem of a `nested_key` of one part and a `value_json`, with its own tag and length.
#: Lengths are single bytes. Neither they nor what lies between items is compared: the names must be
#: known ones, and all that was found as long as the row.
_ITEM = re.compile(rb"\x0a.\x12.([^\x82]+)\x82\x01.([^\x0a\x12]+)", re.DOTALL)
_ITEM_OWN_BYTES = 7
#: Whole numbers beyond are none that a double holds, and are told from fractions elsewhere.
_EXACT_MAX = 2**53
_STEP_TAG = b"\x12"
_DIGITS = b"0123456789"
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
    keys: frozenset[bytes]
    choose: Callable[[dict[bytes, bytes]], tuple[bytes, ...]]
    #: What a row takes beside its numbers, less the commas that part those in JSON.
    own_bytes: int


class NumberRows:
    """Reads the rows of one file that are like rows which were built before."""

    def __init__(self) -> None:
        self._layouts: dict[frozenset[bytes], _Layout] = {}
        self._last: _Layout | None = None
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
        own_bytes = sum(map(len, keys)) + _ITEM_OWN_BYTES * len(keys) - (len(keys) - 1)
        self._last = _Layout(shape, names, frozenset(keys), itemgetter(*keys), own_bytes)
        self._layouts[self._last.keys] = self._last

    def read(self, raw: bytes, *, fractions: int) -> NumberRow | None:
        """A `History` message; None where the row builder must read it."""
        layout = self._last
        if layout is None or fractions != self._fractions:
            return None
        found = dict(_ITEM.findall(raw))
        try:
            numbers = b",".join(layout.choose(found))
        except KeyError:
            numbers = b""
        if not numbers or len(found) != len(layout.keys):
            layout = self._layouts.get(frozenset(found))
            if layout is None:
                return None
            self._last = layout
            numbers = b",".join(layout.choose(found))
        rest_bytes = len(raw) - layout.own_bytes - len(numbers)
        if rest_bytes and not _is_step(raw, rest_bytes):
            return None
        row = _read_numbers(numbers)
        if row is None or type(row[0]) is not int or not 0 <= row[0] <= STEP_MAX:
            return None
        return NumberRow(row[0], row[1], row[2], layout.names, row[3:], layout.shape)


def _read_numbers(texts: bytes) -> list[Any] | None:
    """Numbers that stand between commas; None where they are others, or others than numbers."""
    listed = b"[%b,0]" % texts
    if b"u" in listed or b"l" in listed or b"-0," in listed:
        return None  # true, false, null; -0, which is 0 where it is read as a whole number
    try:
        row = orjson.loads(listed)
        row.pop()
        is_exact = min(row) >= -_EXACT_MAX and max(row) <= _EXACT_MAX
    except (orjson.JSONDecodeError, TypeError):
        return None
    return row if is_exact else None


def _is_step(raw: bytes, size_bytes: int) -> bool:
    """Whether a History ends with the field `step`, behind a number: it says what `_step` says."""
    tail = raw[-size_bytes:]
    return (
        size_bytes > 1
        and tail[:1] == _STEP_TAG
        and tail[1] == size_bytes - 2
        and (raw[-size_bytes - 1] in _DIGITS)
    )
