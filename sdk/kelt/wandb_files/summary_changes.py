"""What of W&B's summary was set by hand. Pure.

W&B writes every summary value, those included that follow from the history. In newer versions a
record of them stands before each row and has the row's `_step` in it: it is passed over. In 0.16
one record at the end has all. Elsewhere a value by `nested_key` waits for a row that has it too.
What was set by hand comes by `key`; it is carried at once, and taken back when the history
overwrites it, because in kelt what was set by hand holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kelt.wandb_files.row_building import decode_value, flattened
from kelt_proto.wandb.wandb_record_pb2 import Item, Summary

#: Names that define_metric gives its results in W&B's summary.
_DERIVED = frozenset(("min", "max", "mean", "best", "last", "first"))
_ROWS_OWN = frozenset(("_step", "_runtime", "_timestamp"))
_MISSING = object()
#: `nested_key: "_step"` on the wire; in no JSON, where the first of these is escaped.
_OF_A_ROW = b"\x12\x05_step"


class SummaryChanges:
    """Follows the summary and the history of one file."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        #: The last row, as far as it is not yet in `_last`: nobody may ever ask.
        self._row: tuple[Sequence[str], Sequence[Any]] = ((), ())
        self._waiting: dict[str, Any] = {}
        self._by_hand: set[str] = set()
        self._sets: dict[str, Any] = {}
        self._removals: dict[str, None] = {}
        #: A record of W&B's own values alone, one of which stands before each row.
        self._idle = b""

    def take(self, raw: bytes) -> None:
        """A summary record. What has waited for a row that did not come is by hand.

        Raises:
            DecodeError: it is no such message.
        """
        if raw == self._idle and not self._waiting:
            return
        summary = Summary.FromString(raw)
        self._take_row()
        for name, value in self._waiting.items():
            self._set(name, value)
        self._waiting.clear()
        is_idle = not summary.remove
        for item in summary.update:
            if (name := name_of(item)).split(".", 1)[0] == "_wandb" or not name:
                continue
            is_idle = is_idle and name in _ROWS_OWN
            value = decode_value(item.value_json)
            if isinstance(value, dict) and value and _DERIVED.issuperset(value):
                continue
            pairs = flattened(name, value) if isinstance(value, dict) else ((name, value),)
            for inner, plain in pairs:
                self._update(inner, plain, may_wait=bool(item.nested_key))
        self._idle = raw if is_idle else b""
        for item in summary.remove:
            name = name_of(item)
            if name in self._by_hand:
                self._by_hand.discard(name)
                self._sets.pop(name, None)
                self._removals[name] = None

    def _update(self, name: str, value: Any, *, may_wait: bool) -> None:
        if name in _ROWS_OWN:
            return
        if _is_same(self._last.get(name, _MISSING), value):
            self._overwritten(name)
        elif may_wait:
            self._waiting[name] = value
        else:
            self._set(name, value)

    def row(self, names: Sequence[str], values: Sequence[Any]) -> None:
        """A row of the history: its values, in the order of their names."""
        if names is not self._row[0]:
            self._take_row()
        self._row = (names, values)
        if self._waiting or self._by_hand:
            for name, value in zip(names, values, strict=True):
                if _is_same(self._waiting.get(name, _MISSING), value):
                    del self._waiting[name]
                if value is not None:
                    self._overwritten(name)

    def _take_row(self) -> None:
        self._last.update(zip(*self._row, strict=True))

    def _set(self, name: str, value: Any) -> None:
        self._by_hand.add(name)
        self._removals.pop(name, None)
        self._sets[name] = value

    def _overwritten(self, name: str) -> None:
        if name in self._by_hand:
            self._by_hand.discard(name)
            self._sets.pop(name, None)
            self._removals[name] = None

    def changes(self) -> tuple[dict[str, Any], list[str]] | None:
        """Values set and names taken back since it was asked last; None without any."""
        if not self._sets and not self._removals:
            return None
        found = self._sets, list(self._removals)
        self._sets, self._removals = {}, {}
        return found


def is_of_a_row(raw: bytes) -> bool:
    """Whether a summary record only says again what a row says."""
    return _OF_A_ROW in raw


def name_of(item: Item) -> str:
    """The path of an item, joined with dots."""
    return ".".join(item.nested_key) or item.key


def names_of(items: Iterable[Item]) -> list[tuple[str, ...]]:
    """The paths of items."""
    return [tuple(item.nested_key) or (item.key,) for item in items]


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 # not a number
