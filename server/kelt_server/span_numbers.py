"""Aggregates of spans, remembered until rows are added to their branches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kelt_server.metrics.store import Aggregate, MetricsStore, RowTotals, Span, Stream

#: Aggregates, of all spans: half a kilobyte each.
_REMEMBERED_MAX = 50_000

_Key = tuple[str, bytes | None, int | None]


@dataclass(frozen=True, slots=True)
class SpanNumbers:
    """What the rows of one span come to; steps are as stored."""

    aggregates: tuple[Aggregate, ...]
    totals: tuple[RowTotals, ...]

    @property
    def size(self) -> int:
        """What it counts for among the remembered."""
        return 1 + len(self.aggregates)


class Numbers:
    """Mutable state: the latest numbers of spans, with how many parts their branches had then."""

    def __init__(self, metrics: MetricsStore) -> None:
        self._metrics = metrics
        self._known: OrderedDict[_Key, tuple[int, SpanNumbers]] = OrderedDict()
        self._aggregates = 0

    def of_spans(
        self, spans: Iterable[Span], streams: Mapping[str, Sequence[Stream]]
    ) -> dict[_Key, SpanNumbers]:
        """The numbers of each span, by `key_of`."""
        found: dict[_Key, SpanNumbers] = {}
        missing: dict[_Key, Span] = {}
        parts = {
            branch_id: sum(stream.parts for stream in of_branch)
            for branch_id, of_branch in streams.items()
        }
        for span in spans:
            key = key_of(span)
            known = self._known.get(key)
            if known is not None and known[0] == parts.get(span.branch_id, 0):
                found[key] = known[1]
            elif parts.get(span.branch_id, 0):
                missing[key] = replace(span, offset=0, position=0)
            else:
                found[key] = SpanNumbers((), ())
        for layer in _layers(missing.values()):
            for key, numbers in self._ask(layer).items():
                found[key] = numbers
                self._remember(key, parts[key[0]], numbers)
        return found

    def _remember(self, key: _Key, parts: int, numbers: SpanNumbers) -> None:
        known = self._known.pop(key, None)
        self._known[key] = parts, numbers
        self._aggregates += numbers.size - (0 if known is None else known[1].size)
        while self._aggregates > _REMEMBERED_MAX and len(self._known) > 1:
            _, (_, oldest) = self._known.popitem(last=False)
            self._aggregates -= oldest.size

    def _ask(self, spans: Sequence[Span]) -> dict[_Key, SpanNumbers]:
        """One question for many spans; no two of them may share rows."""
        of_stream = {(span.branch_id, span.writer_id): key_of(span) for span in spans}
        aggregates: dict[_Key, list[Aggregate]] = {key_of(span): [] for span in spans}
        totals: dict[_Key, list[RowTotals]] = {key_of(span): [] for span in spans}
        for one in self._metrics.aggregates(spans):
            key = of_stream[one.branch_id, one.writer_id if one.relative else None]
            aggregates[key].append(one)
        for total in self._metrics.totals(spans):
            key = of_stream[total.branch_id, total.writer_id if total.relative else None]
            totals[key].append(total)
        return {key: SpanNumbers(tuple(aggregates[key]), tuple(totals[key])) for key in aggregates}


def key_of(span: Span) -> _Key:
    """What the numbers of a span depend on."""
    return span.branch_id, span.writer_id, span.step_max


def _layers(spans: Iterable[Span]) -> list[list[Span]]:
    """Spans of the same stream go into different questions."""
    layers: list[list[Span]] = []
    depth: dict[tuple[str, bytes | None], int] = {}
    for span in spans:
        stream = (span.branch_id, span.writer_id)
        number = depth.get(stream, 0)
        depth[stream] = number + 1
        if number == len(layers):
            layers.append([])
        layers[number].append(span)
    return layers
