"""Reading a run's rows, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kelt.api_client.errors import QueryError

#: The server takes no larger page.
PAGE_ROWS_MAX = 10_000
#: What every row has beside what was logged, by the names that people ask for.
ROW_FACTS: Mapping[str, str] = {"_step": "step", "_timestamp": "timestamp", "_runtime": "runtime"}


class Getter(Protocol):
    """What reading rows needs of a connection."""

    def get(self, route: str, arguments: list[tuple[str, str | int]] = ...) -> Any:
        """The decoded reply of a route."""


@dataclass(frozen=True, kw_only=True)
class HistoryQuery:
    """Which rows, and what of them.

    Raises:
        QueryError: a bound is out of range; the message names it.
    """

    keys: tuple[str, ...] | None = None
    page_rows: int = 1000
    min_step: int | None = None
    max_step: int | None = None
    samples: int | None = None
    label: str | None = None
    stream: str = "default"

    def __post_init__(self) -> None:
        if not 1 <= self.page_rows <= PAGE_ROWS_MAX:
            raise QueryError(
                f"page_size is {self.page_rows}; choose between 1 and {PAGE_ROWS_MAX}."
            )
        if self.samples is not None and self.samples < 1:
            raise QueryError(f"samples is {self.samples}; ask for at least 1.")
        if self.stream not in {"default", "system"}:
            raise QueryError(f"stream is {self.stream!r}; choose default or system.")

    def arguments(self, after: str | None) -> list[tuple[str, str | int]]:
        """A request's arguments, for the page that follows `after`."""
        chosen: list[tuple[str, str | int]] = [
            ("key", key) for key in self.keys or () if key not in ROW_FACTS
        ]
        if self.samples is None:
            chosen.append(("limit", self.page_rows))
        for name, value in (
            ("min_step", self.min_step),
            ("max_step", self.max_step),
            ("samples", self.samples),
            ("label", self.label),
            ("after", after),
            ("stream", self.stream if self.stream != "default" else None),
        ):
            if value is not None:
                chosen.append((name, value))
        return chosen

    def row(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """A row as people get it: asked for by keys, in their order; else whole."""
        values: Mapping[str, Any] = item["values"]
        if self.keys is None:
            # A sample has a time, and its millisecond in the place of a step.
            facts = {n: f for n, f in ROW_FACTS.items() if self.stream == "default" or n != "_step"}
            return {name: item[field] for name, field in facts.items()} | dict(values)
        return {key: item[ROW_FACTS[key]] if key in ROW_FACTS else values[key] for key in self.keys}


def chosen_keys(keys: Sequence[str] | None) -> tuple[str, ...] | None:
    """The keys that a caller asked for, or None for all.

    Raises:
        QueryError: a bare text, which would be taken for a list of letters.
    """
    if isinstance(keys, str | int):
        raise QueryError(f"keys is {keys!r}; give a list of names, such as ['loss'].")
    return tuple(keys) if keys else None


def read_rows(getter: Getter, route: str, query: HistoryQuery) -> Iterator[dict[str, Any]]:
    """The rows of a history. Nothing is asked before the first is wanted."""
    return (query.row(item) for item in _items(getter, route, query))


def read_joined_rows(getter: Getter, route: str, query: HistoryQuery) -> Iterator[dict[str, Any]]:
    """The rows of a shared run, those of its writers at one step joined where no key is in both.

    A row that shares a key with what stands there at its step stays a row of its own, so nothing
    hides anything. Keys and samples are chosen after joining.
    """
    if len([key for key in query.keys or () if key not in ROW_FACTS]) == 1:
        return read_rows(getter, route, query)  # joining brings no key together with another
    page_rows = query.page_rows if query.samples is None else PAGE_ROWS_MAX
    whole = replace(query, keys=None, samples=None, page_rows=page_rows)
    found = (
        query.row(item)
        for item in _joined(_items(getter, route, whole))
        if _has_all(item, query.keys)
    )
    return found if query.samples is None else _sampled(list(found), query.samples)


def _items(getter: Getter, route: str, query: HistoryQuery) -> Iterator[Mapping[str, Any]]:
    after: str | None = None
    while True:
        page = getter.get(f"{route}/history", query.arguments(after))
        yield from page["rows"]
        after = page["next"]
        if after is None:
            return


def _joined(items: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows come in order of step; time and runtime of joined ones are the latest."""
    at_step: list[dict[str, Any]] = []
    for item in items:
        if at_step and at_step[0]["step"] != item["step"]:
            yield from at_step
            at_step = []
        into = next((row for row in at_step if _can_join(row, item)), None)
        if into is None:
            at_step.append({**item, "values": dict(item["values"])})
            continue
        into["values"] |= item["values"]
        for field in ("timestamp", "runtime"):
            into[field] = max(into[field], item[field])
    yield from at_step


def _can_join(row: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    is_shared = bool(row["label"] and item["label"])
    return is_shared and row["values"].keys().isdisjoint(item["values"])


def _has_all(item: Mapping[str, Any], keys: tuple[str, ...] | None) -> bool:
    return all(key in item["values"] or key in ROW_FACTS for key in keys or ())


def _sampled(rows: list[dict[str, Any]], samples: int) -> Iterator[dict[str, Any]]:
    """Evenly, the first and the last among them, as the server does it."""
    last = len(rows) - 1
    if last < samples:
        return iter(rows)
    if samples == 1:
        return iter(rows[last:])
    return (rows[number * last // (samples - 1)] for number in range(samples))
