"""Rows of runs as wandb's clients ask for them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kelt_server.api import history
from kelt_server.branch_names import Name
from kelt_server.metrics.store import PageRequest
from kelt_server.reader import RunReader
from kelt_server.wandb_api.arguments import step
from kelt_server.wandb_api.run_answers import bare, strict

_PAGE_ROWS = 1000
#: Of one answer.
_ROWS_MAX = 50_000
_ROW_FIELDS = ("_step", "_timestamp", "_runtime")


class HistoryAnswers:
    """Reads the rows of one run."""

    def __init__(self, reader: RunReader, name: Name) -> None:
        self._reader = reader
        self._name = name

    def lines(
        self, *, step_min: int | None, step_end: int | None, limit: int, is_sample: bool
    ) -> list[str]:
        """Rows as lines of JSON with bare NaN; `step_end` is not among them."""
        step_max = None if step_end is None else step_end - 1
        samples = limit if is_sample else None
        return [
            json.dumps(bare(row))
            for row in self._rows(
                None, step_min=step_min, step_max=step_max, limit=limit, samples=samples
            )
        ]

    def events(self, samples: int) -> list[str]:
        """System samples as lines of JSON, evenly chosen."""
        return self._events(PageRequest(spans=(), ranks={}, samples=samples))

    def last_events(self) -> list[str]:
        """The last system sample, or nothing; asked of many runs at a time."""
        number, last = self._reader.rows.samples(*self._name)
        request = PageRequest(spans=(), ranks={}, step_min=last)
        return self._events(request)[-1:] if number else []

    def _events(self, request: PageRequest) -> list[str]:
        page, writers = self._reader.rows.system_page(self._name, request)
        return [
            json.dumps(
                bare(row["values"])
                | {"_timestamp": row["timestamp"], "_runtime": row["runtime"], "_wandb": True}
            )
            for row in history.page_json(page, None, writers)["rows"]
        ]

    def ends(self, last_step: int) -> list[int]:
        """The first and the last step: clients ask for no page before the first that they see."""
        first = next(self._rows(None, step_min=None, step_max=None, limit=1, samples=None), None)
        return [] if first is None else [first["_step"], last_step]

    def sampled(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows that have all of some keys, as strict JSON."""
        keys = [key for key in spec.get("keys") or () if isinstance(key, str)]
        metrics = [key for key in keys if key not in _ROW_FIELDS]
        is_page = "minStep" in spec or "maxStep" in spec
        limit = _whole(spec.get("samples"), 500)
        rows = self._rows(
            metrics or None,
            step_min=step(spec.get("minStep")),
            step_max=_last_step(spec, keys),
            limit=_ROWS_MAX if is_page else limit,
            samples=None if is_page else limit,
        )
        wanted = keys or None
        found = []
        for row in rows:
            if wanted is None:
                found.append(strict(row))
            elif all(key in row for key in wanted):
                found.append(strict({key: row[key] for key in wanted}))
        return found

    def _rows(
        self,
        metrics: list[str] | None,
        *,
        step_min: int | None,
        step_max: int | None,
        limit: int,
        samples: int | None,
    ) -> Iterator[dict[str, Any]]:
        left = min(limit, _ROWS_MAX)
        after, writer = None, None
        while left > 0:
            request = PageRequest(
                spans=(),
                ranks={},
                metrics=metrics,
                step_min=step_min,
                step_max=step_max,
                limit=min(left, _PAGE_ROWS),
                after=after,
                samples=samples,
            )
            page, writers = self._reader.rows.page(*self._name, request, writer)
            rows = history.page_json(page, None, writers)["rows"]
            left -= len(rows)
            for row in rows:
                yield {
                    **row["values"],
                    "_step": row["step"],
                    "_timestamp": row["timestamp"],
                    "_runtime": row["runtime"],
                }
            if page.next is None or samples is not None:
                return
            after, writer = history.read_token(history.write_token(page.next, writers))


def _whole(number: object, default: int) -> int:
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    return max(1, int(number)) if is_whole else default  # type: ignore[call-overload]


def _last_step(spec: Mapping[str, Any], keys: Collection[str]) -> int | None:
    """The last step of a page that a client asks for.

    Clients from 0.28 on name it, and ask for `_step` and for as many samples as there are steps.
    Older ones name the step behind it, at which their next page begins.
    """
    first, named = step(spec.get("minStep")) or 0, step(spec.get("maxStep"))
    if named is None:
        return None
    is_last = "_step" in keys and spec.get("samples") == named - first + 1
    return named if is_last else named - 1
