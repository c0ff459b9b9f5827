"""A run's summary: of each metric what its definition says, and what the user set by hand.

The last value is the one at the highest step. `min`, `max`, `mean` and `best` pass over
not-a-number, unless there is nothing else, and over what is no number. Values set by hand win, and
stay until a rewind below the step at which they were set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kelt.attribute_mapping import AttributeMapping
from kelt.errors import UsageError
from kelt.metric_definitions import UNDEFINED, DefinitionTable
from kelt.values import DESCRIBED_KEY, checked_key, column_of, plain_value
from kelt_proto.v1.rows import Value

_PLAIN_TYPES = frozenset((float, int, bool, str, type(None), list, dict))


@dataclass
class MetricSummary:
    """What is known of one metric's values.

    The newest step stays open, because a later part of the same row replaces its value.
    """

    last_step: int = -1
    last: Value = None
    first_step: int = -1
    first: Value = None
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    count: int = 0

    def add(self, value: Value, step: int) -> None:
        """The next value; those of a step below the newest count at once."""
        if step < self.last_step:
            self._fold(value)
        else:
            if step > self.last_step >= 0:
                self._fold(self.last)
            self.last, self.last_step = value, step
        if self.first_step < 0 or step <= self.first_step:
            self.first, self.first_step = value, step

    def _fold(self, value: Value) -> None:
        if isinstance(value, (int, float)) and not math.isnan(value):
            self.low, self.high = min(self.low, value), max(self.high, value)
            self.total += value
            self.count += 1

    def absorb(self, later: MetricSummary) -> None:
        """Adds what was seen after this."""
        if self.last_step >= 0 and self.last_step != later.last_step:
            self._fold(self.last if later.last_step >= self.last_step else later.last)
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.total += later.total
        self.count += later.count
        if later.last_step >= self.last_step:
            self.last, self.last_step = later.last, later.last_step
        if self.first_step < 0 or 0 <= later.first_step < self.first_step:
            self.first, self.first_step = later.first, later.first_step

    def value(self, kind: str, goal: str = "") -> Value:
        """One of the summaries that a definition may ask for; the goal is that of `best`."""
        if kind == "last":
            return self.last
        if kind == "first":
            return self.first
        whole = MetricSummary(
            low=self.low, high=self.high, total=self.total, count=self.count
        )  # with the open step
        whole._fold(self.last)
        if not whole.count:
            return self.last
        if kind == "mean":
            return whole.total / whole.count
        wants_high = kind == "max" or (kind == "best" and goal == "maximize")
        return whole.high if wants_high else whole.low


@dataclass
class SummaryState:
    """The summary of a history, foldable row by row and part by part."""

    definitions: DefinitionTable = field(default_factory=DefinitionTable)
    metrics: dict[str, MetricSummary] = field(default_factory=dict)
    by_hand: dict[str, Value] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    def add_row(self, names: Sequence[str], values: Sequence[Any], step: int) -> None:
        """One row, or part of one."""
        for name, value in zip(names, values, strict=True):
            metric = self.metrics.get(name)
            if metric is None:
                metric = self.metrics[name] = MetricSummary()
            if type(value) not in _PLAIN_TYPES:
                _, value = column_of(value, name)  # noqa: PLW2901 # NumPy's numbers
            metric.add(value, step)

    def set_by_hand(self, key: str, value: Value) -> None:
        """A value that the user assigned."""
        self.removed.discard(key)
        self.by_hand[key] = value

    def remove(self, key: str) -> None:
        """A value that the user deleted."""
        self.by_hand.pop(key, None)
        self.removed.add(key)

    def absorb(self, later: SummaryState) -> None:
        """Adds what came after this: later values set by hand and definitions hold."""
        for definition in later.definitions.all():
            self.definitions.add(definition)
        for name, metric in later.metrics.items():
            mine = self.metrics.get(name)
            if mine is None:
                mine = self.metrics[name] = MetricSummary()
            mine.absorb(metric)
        for key in later.removed:
            self.remove(key)
        for key, value in later.by_hand.items():
            self.set_by_hand(key, value)

    def values(self) -> dict[str, Value]:
        """The summary, keys joined with dots."""
        found: dict[str, Value] = {}
        behind_dots: dict[str, Value] = {}
        for name, metric in self.metrics.items():
            definition = self.definitions.of(name) or UNDEFINED
            kinds = definition.summaries
            if len(kinds) > 1:
                found[name] = metric.last
                behind_dots |= {
                    f"{name}.{kind}": metric.value(kind, definition.goal) for kind in kinds
                }
            elif kinds != ("none",):
                found[name] = metric.value(kinds[0], definition.goal)
        found = behind_dots | found  # a metric of that name is itself
        for key in self.removed:
            found.pop(key, None)
        return {**found, **self.by_hand}


class RunSummary(AttributeMapping):
    """`run.summary`: reads as a dict with dotted keys; a prefix gives the nested part.

    `_step`, `_timestamp` and `_runtime` of the newest row can be read, and are not counted among
    its keys.

    Args:
        state: gives the summary as it stands now.
        row_facts: gives those three, as far as there is a row.
        on_set: told of each change, with the values set and the keys removed.
    """

    def __init__(
        self,
        *,
        state: Callable[[], SummaryState],
        row_facts: Callable[[], Mapping[str, float]],
        on_set: Callable[[dict[str, Value], list[str]], None],
    ) -> None:
        self._state = state
        self._row_facts = row_facts
        self._on_set = on_set

    def __getitem__(self, key: str) -> Any:
        values = self._state().values()
        if key in values:
            return values[key]
        nested = _nested_part(values, key)
        if not nested:
            return self._row_facts()[key]
        return nested

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        if key not in self._state().values():
            raise KeyError(key)
        self._on_set({}, [key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._state().values())

    def __len__(self) -> int:
        return len(self._state().values())

    def _no_value(self, name: str) -> str:
        return f"the summary has no value {name!r}"

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Sets several values, nested ones included, as one record.

        Raises:
            UsageError: a value that cannot be stored; none is set.
        """
        given = {**dict(other), **more}
        flat: dict[str, Value] = {}
        for key, value in given.items():
            _flatten(checked_key(key, "run.summary"), value, flat)
        if flat:
            self._on_set(flat, [])

    def as_dict(self) -> dict[str, Any]:
        """A copy, keys joined with dots."""
        return self._state().values()

    def __repr__(self) -> str:
        return repr(self.as_dict())


def _flatten(key: str, value: Any, into: dict[str, Value]) -> None:
    if isinstance(value, Mapping) and value and DESCRIBED_KEY not in value:
        for name, item in value.items():
            _flatten(f"{key}.{checked_key(name, 'run.summary')}", item, into)
        return
    plain = plain_value(value, key, "run.summary")
    if isinstance(plain, dict) and plain and DESCRIBED_KEY not in plain:
        raise UsageError(f"run.summary: {key!r} cannot be stored; use plain dicts.")
    into[key] = plain


def _nested_part(values: Mapping[str, Value], key: str) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith(f"{key}."):
            *path, last = name[len(key) + 1 :].split(".")
            part = nested
            for step in path:
                inner = part.setdefault(step, {})
                part = inner if isinstance(inner, dict) else part.setdefault(step, {})
            part[last] = value
    return nested
