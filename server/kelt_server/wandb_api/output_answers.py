"""Console and system samples of runs as wandb's clients ask for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from graphql import Undefined

from kelt_proto.v1.record_pb2 import ConsoleLine as Record
from kelt_server.branch_names import Name
from kelt_server.consoles import ConsoleLine, ConsolePage, ConsolePlace
from kelt_server.reader import RunReader
from kelt_server.wandb_api.histories import HistoryAnswers
from kelt_server.wandb_api.run_answers import iso

#: Of one answer.
_LINES_MAX = 10_000
_SAMPLES_MAX = 50_000


def output_fields(
    reader: RunReader, name: Name, rows: HistoryAnswers
) -> dict[str, Callable[..., Any]]:
    """A run's fields, each read only where it is asked for."""
    console = ConsoleAnswers(reader, name)

    def events(_info: object, samples: Any = Undefined, **_given: Any) -> list[str]:
        return rows.events(_bounded(samples, 500, _SAMPLES_MAX))

    return {
        "events": events,
        "eventsLineCount": lambda _info: reader.rows.samples(*name)[0],
        "eventsTail": lambda _info: json.dumps(rows.last_events()),
        "systemMetrics": lambda _info: next(iter(rows.last_events()), "{}"),
        "logLines": lambda _info, **given: console.lines(given),
        "logLineCount": lambda _info: console.end_number(),
    }


class ConsoleAnswers:
    """Reads the console of one run."""

    def __init__(self, reader: RunReader, name: Name) -> None:
        self._reader = reader
        self._name = name

    def end_number(self) -> int:
        """The index of the line that comes next: a client that resumes the run goes on there."""
        return self._reader.consoles.tail(self._name, last=1).end_number

    def lines(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """A connection of lines: the last ones, or the first after a cursor."""
        last, after = said.get("last"), said.get("after")
        if isinstance(last, int):
            page = self._reader.consoles.tail(self._name, last=_bounded(last, 1, _LINES_MAX))
        else:
            limit = _bounded(said.get("first"), 1000, _LINES_MAX)
            place = ConsolePlace.read(after) if isinstance(after, str) and after else None
            page = self._reader.consoles.page(self._name, limit=limit, after=place)
        return _connection(page)


def _connection(page: ConsolePage) -> dict[str, Any]:
    edges = [{"node": _node(found), "cursor": _cursor(found)} for found in page.lines]
    end = edges[-1]["cursor"] if edges else None
    return {
        "totalCount": page.total,
        "edges": edges,
        "pageInfo": {"endCursor": end, "hasNextPage": page.has_more},
    }


def _node(found: ConsoleLine) -> dict[str, Any]:
    line = found.line
    return {
        "number": line.number,
        "timestamp": iso(line.at) if line.at else "",
        "level": "error" if line.stream == Record.STDERR else "",
        "label": found.label,
        "line": line.text,
    }


def _cursor(found: ConsoleLine) -> str:
    return ConsolePlace(found.writer_id, found.branch_id, found.line.number).token()


def _bounded(said: object, default: int, most: int) -> int:
    is_whole = isinstance(said, int) and not isinstance(said, bool)
    return max(1, min(int(said), most)) if is_whole else default  # type: ignore[call-overload]
