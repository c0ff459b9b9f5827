"""The summary of a history: what its rows come to, and what was set by hand. Pure.

Per metric as its latest definition says (the metric's own name goes before a glob): `last` by
default, `first`, `min`, `max`, `mean`, `best` (the minimum or maximum, by its goal) or `none`. One
with several of them has its last value under its own name, and each of them behind a dot.
First and last go by the line of descent, then session, then sequence, not by step. Minimum,
maximum, mean and best are of the numbers that are not NaN (booleans count as 0 and 1; an integer
comes out only where all are integers); a metric that has none of these falls back to its last
value.

A value set by hand wins over the rows. By-hand values and definitions carry the highest step at
which they were set, and are inherited up to the fork step: a rewind below takes them back. Those
of a session with relative steps count from its base, as its rows do. A value that was given back
(`removed`) is computed again.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kelt_proto.v1.rows import ColumnKind
from kelt_server.config_history import session_order
from kelt_server.facts import DefinitionFact, SessionFact, SummaryFact
from kelt_server.lineage import Line
from kelt_server.metrics.store import Aggregate, Cell, LastValues, RowTotals
from kelt_server.values import cell_parts_value, cell_value


class _Stepped(Protocol):
    @property
    def branch_id(self) -> str: ...
    @property
    def writer_id(self) -> bytes: ...
    @property
    def seq(self) -> int: ...
    @property
    def step(self) -> int: ...


#: How a metric may be summarised by its last value, or not at all.
_LAST = ("", "last", "none")

_Item = TypeVar("_Item", bound=_Stepped)


def inherited(
    line: Line,
    items: Mapping[str, Sequence[_Item]],
    *,
    sessions: Mapping[bytes, SessionFact],
    base: Callable[[bytes], int],
    step_max: int | None = None,
) -> list[_Item]:
    """The items that hold on a branch, up to a step of its history, in the order of the line."""
    cut = step_max
    cuts = [(line.branch.branch_id, cut)]
    for ancestor in line.ancestors:
        if ancestor.fork_step is not None:
            cut = ancestor.fork_step if cut is None else min(cut, ancestor.fork_step)
        cuts.append((ancestor.branch_id, cut))
    found: list[_Item] = []
    for branch_id, limit in reversed(cuts):
        own = [
            item
            for item in items.get(branch_id, ())
            if limit is None or item.step + base(item.writer_id) <= limit
        ]
        found += _ordered(own, sessions)
    return found


def _ordered(items: Sequence[_Item], sessions: Mapping[bytes, SessionFact]) -> list[_Item]:
    """By session and sequence; those of a session and of who tells it again by step."""
    places = {item.writer_id: session_order(item.writer_id, sessions) for item in items}
    retold = {place.session_id for place in places.values() if place.retold_by}

    def key(item: _Item) -> tuple[Any, ...]:
        started_at, session_id, again = places[item.writer_id]
        step = item.step if session_id in retold else 0
        return started_at, session_id, step, again, item.seq, getattr(item, "index", 0)

    return sorted(items, key=key)


def settle_definitions(items: Iterable[DefinitionFact]) -> dict[str, DefinitionFact]:
    """The definition of each name or glob that holds: the last one said."""
    settled: dict[str, DefinitionFact] = {}
    for item in items:
        settled.pop(item.name, None)  # a glob said again counts as said last
        settled[item.name] = item
    return settled


def definition_of(metric: str, settled: Mapping[str, DefinitionFact]) -> DefinitionFact | None:
    """What holds for a metric: its own definition, else the last glob that matches."""
    own = settled.get(metric)
    if own is not None:
        return own
    for name in reversed(list(settled)):
        if any(sign in name for sign in "*?[") and fnmatch.fnmatchcase(metric, name):
            return settled[name]
    return None


def wants_aggregates(definitions: Mapping[str, DefinitionFact]) -> bool:
    """Whether last values alone do not do."""
    return any(found.summary not in _LAST for found in definitions.values())


def summarise(
    lasts: Iterable[LastValues],
    aggregates: Iterable[Aggregate],
    by_hand: Iterable[SummaryFact],
    definitions: Mapping[str, DefinitionFact],
    *,
    order: Callable[[str, bytes, bool], Any],
) -> dict[str, Any]:
    """The summary; `order` places a stream (branch, writer, relative) in the history.

    Args:
        lasts: of every stream.
        aggregates: likewise; may be missing unless `wants_aggregates`.
        by_hand: values that were set by hand, in their order.
        definitions: by name or glob.
        order: of streams.
    """
    streams = sorted(lasts, key=lambda part: order(part.branch_id, part.writer_id, part.relative))
    summary: dict[str, Any] = {}
    for part in streams:
        summary.update(_last_values(part))
    if len(streams) > 1:
        summary = dict(sorted(summary.items()))
    if definitions:
        _define(summary, aggregates, definitions, order)
    set_by_hand: dict[str, Any] = {}
    for item in by_hand:
        if item.removed:
            set_by_hand.pop(item.key, None)
        else:
            set_by_hand[item.key] = json.loads(item.json)
    return {**summary, **set_by_hand}


def _last_values(part: LastValues) -> Iterable[tuple[str, Any]]:
    values = [
        value if kind == ColumnKind.FLOAT else cell_parts_value(kind, value, text)
        for kind, value, text in zip(part.kinds, part.values, part.texts, strict=True)
    ]
    return zip(part.metrics, values, strict=True)


def _define(
    summary: dict[str, Any],
    aggregates: Iterable[Aggregate],
    definitions: Mapping[str, DefinitionFact],
    order: Callable[[str, bytes, bool], Any],
) -> None:
    """Puts what the definitions say in place of last values."""
    by_metric: dict[str, list[Aggregate]] = {}
    for aggregate in aggregates:
        by_metric.setdefault(aggregate.metric, []).append(aggregate)
    for metric in list(summary):
        definition = definition_of(metric, definitions)
        if definition is None or definition.summary in {"", "last"}:
            continue
        if definition.summary == "none":
            del summary[metric]
        elif metric in by_metric:  # else its first row came just now
            parts = sorted(
                by_metric[metric], key=lambda a: order(a.branch_id, a.writer_id, a.relative)
            )
            kinds = definition.summary.split(",")
            if len(kinds) == 1:
                summary[metric] = _combined(parts, kinds[0], definition.goal)
            else:
                for kind in kinds:  # a metric of that name is itself
                    name = f"{metric}.{kind}"
                    summary.setdefault(name, _combined(parts, kind, definition.goal))


def of_last_row(
    totals: Iterable[RowTotals], *, order: Callable[[str, bytes, bool], Any]
) -> RowTotals | None:
    """The totals of the stream that logged last, by the order of first and last."""
    return max(totals, key=lambda t: order(t.branch_id, t.writer_id, t.relative), default=None)


def _combined(parts: Sequence[Aggregate], how: str, goal: str) -> Any:
    if how == "best":
        how = "max" if goal == "maximize" else "min"
    if how == "first":
        return cell_value(parts[0].first)
    count = sum(part.numbers for part in parts)
    if how == "mean" and count:
        return sum(part.total for part in parts) / count
    if how in ("min", "max") and count:
        cells = [part.minimum if how == "min" else part.maximum for part in parts]
        return _extreme([cell for cell in cells if cell is not None], how)
    return cell_value(parts[-1].last)


def _extreme(cells: Sequence[Cell], how: str) -> Any:
    """An integer if all the numbers are integers, else a float."""
    pick = min if how == "min" else max
    if all(cell.kind == ColumnKind.INT for cell in cells):
        return pick(cell_value(cell) for cell in cells)
    return pick(cell.value for cell in cells)
