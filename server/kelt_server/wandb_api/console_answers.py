"""Consoles of runs as wandb's clients ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kelt_proto.v1.record_pb2 import ConsoleLine as Record
from kelt_server.branch_names import Name
from kelt_server.consoles import ConsoleLine, ConsolePage, ConsolePlace
from kelt_server.reader import RunReader
from kelt_server.wandb_api.run_answers import iso

#: Of one answer.
LINES_MAX = 10_000


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
        if isinstance(last, int) and not isinstance(last, bool):
            page = self._reader.consoles.tail(self._name, last=max(1, min(last, LINES_MAX)))
        else:
            first = said.get("first")
            limit = first if isinstance(first, int) and not isinstance(first, bool) else 1000
            place = ConsolePlace.read(after) if isinstance(after, str) and after else None
            limit = max(1, min(limit, LINES_MAX))
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
