"""Numbers of spans, remembered until rows are added to their branches.

Most metrics are summarised by their last value, which is much cheaper to find than the other
aggregates; those are found only where a definition wants them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from kelt_server.metrics.store import (
    Aggregate,
    LastValues,
    MetricsStore,
    RowTotals,
    Span,
    Stream,
)

#: Values and aggregates, of all spans: half a kilobyte each at most.
_REMEMBERED_MAX = 50_000

_Key = tuple[str, bytes | None, int | None]


@dataclass(frozen=True, slots=True)
class SpanNumbers:
    """What the rows of one span come to; steps are as stored. Without `aggregates`: not asked."""

    lasts: tuple[LastValues, ...]
    totals: tuple[RowTotals, ...]
    aggregates: tuple[Aggregate, ...] | None = None

    @property
    def size(self) -> int:
        """What it counts for among the remembered."""
        values = sum(len(last.metrics) for last in self.lasts)
        return 1 + values + len(self.aggregates or ())


NumbersByKey = Mapping[_Key, SpanNumbers]


class Numbers:
    """Mutable state: the latest numbers of spans, with how many parts their branches had then."""

    def __init__(self, metrics: MetricsStore) -> None:
        self._metrics = metrics
        self._known: OrderedDict[_Key, tuple[int, SpanNumbers]] = OrderedDict()
        self._size = 0

    def of_spans(
        self,
        spans: Iterable[Span],
        streams: Mapping[str, Sequence[Stream]],
        *,
        in_full: Collection[Span] = (),
    ) -> NumbersByKey:
        """The numbers of each span, by `key_of`; with aggregates of those `in_full`."""
        found: dict[_Key, SpanNumbers] = {}
        missing: dict[_Key, Span] = {}
        full = {key_of(span) for span in in_full}
        parts = {
            branch_id: sum(stream.parts for stream in of_branch)
            for branch_id, of_branch in streams.items()
        }
        for span in spans:
            key = key_of(span)
            of_branch = parts.get(span.branch_id, 0)
            known_at, known = self._known.get(key, (0, _NOTHING))
            if known_at == of_branch and (key not in full or known.aggregates is not None):
                found[key] = known
            else:
                missing[key] = replace(span, offset=0, position=0)
        for is_full in (False, True):
            wanted = [span for key, span in missing.items() if (key in full) == is_full]
            for layer in _layers(wanted):
                for key, numbers in self._ask(layer, is_full=is_full).items():
                    found[key] = numbers
                    self._remember(key, parts[key[0]], numbers)
        return found

    def _remember(self, key: _Key, parts: int, numbers: SpanNumbers) -> None:
        known = self._known.pop(key, None)
        self._known[key] = parts, numbers
        self._size += numbers.size - (0 if known is None else known[1].size)
        while self._size > _REMEMBERED_MAX and len(self._known) > 1:
            _, (_, oldest) = self._known.popitem(last=False)
            self._size -= oldest.size

    def _ask(self, spans: Sequence[Span], *, is_full: bool) -> dict[_Key, SpanNumbers]:
        """One question for many spans; no two of them may share rows."""
        lasts = _by_span(self._metrics.last_values(spans), spans)
        totals = _by_span(self._metrics.totals(spans), spans)
        aggregates = _by_span(self._metrics.aggregates(spans), spans) if is_full else None
        return {
            key: SpanNumbers(
                tuple(of_span),
                tuple(totals[key]),
                None if aggregates is None else tuple(aggregates[key]),
            )
            for key, of_span in lasts.items()
        }


_NOTHING = SpanNumbers((), (), ())


class _OfStream(Protocol):
    @property
    def branch_id(self) -> str: ...
    @property
    def writer_id(self) -> bytes: ...
    @property
    def relative(self) -> bool: ...


_Found = TypeVar("_Found", bound=_OfStream)


def _by_span(found: Iterable[_Found], spans: Iterable[Span]) -> dict[_Key, list[_Found]]:
    by_span: dict[_Key, list[_Found]] = {}
    of_stream: dict[tuple[str, bytes | None], list[_Found]] = {}
    for span in spans:
        here = by_span[key_of(span)] = []
        of_stream[span.branch_id, span.writer_id] = here
    for one in found:
        of_stream[one.branch_id, one.writer_id if one.relative else None].append(one)
    return by_span


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
