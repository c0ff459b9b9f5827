"""The runs of a project, fetched a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from kelt.api_client.connection import Connection
from kelt.api_client.errors import QueryError
from kelt.api_client.run import Run

#: The server gives no larger page.
PAGE_RUNS_MAX = 1000


class Runs(Sequence[Run]):
    """A sequence of runs. A page is fetched when something of it is wanted, and then kept.

    Args:
        connection: to the server.
        arguments: entity, project, filters and order, as the route takes them.
        per_page: runs a page.

    Raises:
        QueryError: `per_page` is out of range.
    """

    def __init__(
        self, *, connection: Connection, arguments: Mapping[str, str], per_page: int
    ) -> None:
        if not 1 <= per_page <= PAGE_RUNS_MAX:
            raise QueryError(f"per_page is {per_page}; choose between 1 and {PAGE_RUNS_MAX}.")
        self._connection = connection
        self._arguments = arguments
        self._per_page = per_page
        self._pages: dict[int, list[Run]] = {}
        self._total: int | None = None

    def __repr__(self) -> str:
        project = "/".join(
            self._arguments[key] for key in ("entity", "project") if key in self._arguments
        )
        return f"<Runs {project}>"

    def __len__(self) -> int:
        if self._total is None:
            self._page(0)
        return self._total or 0

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...

    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = index if index >= 0 else index + len(self)
        if not 0 <= position < len(self):
            raise IndexError(f"run {index} of {len(self)}")
        page, offset = divmod(position, self._per_page)
        return self._page(page)[offset]

    def _page(self, number: int) -> list[Run]:
        if number not in self._pages:
            reply: dict[str, Any] = self._connection.get(
                "/runs",
                [
                    *self._arguments.items(),
                    ("offset", number * self._per_page),
                    ("limit", self._per_page),
                ],
            )
            # The length that was told once holds: runs that come later shift the pages behind.
            if self._total is None:
                self._total = int(reply["total"])
            self._pages[number] = [
                Run(connection=self._connection, data=item) for item in reply["runs"]
            ]
        return self._pages[number]
