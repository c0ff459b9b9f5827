"""What the door asks the stores about runs, in threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from kelt_server.branch_names import Name
from kelt_server.errors import NotFoundError
from kelt_server.histories import Standing
from kelt_server.reader import RunReader
from kelt_server.run_view import RunView
from kelt_server.wandb_api.history_lines import Stamp
from kelt_server.wandb_api.upserts import Point


class _Ask(Protocol):
    def __call__(self, ask: Callable[[], Any]) -> Awaitable[Any]:
        """Asks in a thread."""


class Lookups:
    """Asks a reader."""

    def __init__(self, *, reader: RunReader, ask: _Ask) -> None:
        self._reader = reader
        self._ask = ask

    async def standing(
        self, name: Name, point: Point | None, *, counts_rows: bool
    ) -> tuple[Standing, str, int]:
        """Where a name stands, what holds the name of another run at a point, and its rows."""
        entity, project, _ = name

        def look() -> tuple[Standing, str, int]:
            standing, parent, rows = self._reader.rows.standing(*name), "", 0
            if point is not None and point.run_id != name[2]:
                parent = self._reader.rows.standing(entity, project, point.run_id).branch_id
            elif standing.branch_id and (counts_rows or point is not None):
                rows = self._reader.run(*name).rows
            return standing, parent, rows

        found: tuple[Standing, str, int] = await self._ask(look)
        return found

    async def stamps(self, name: Name, steps: tuple[int, int] | None) -> Mapping[Stamp, str]:
        """Step and time of rows of a name, with the branch that has them."""
        if steps is None:
            return {}
        first, last = steps
        found: Mapping[Stamp, str] = await self._ask(
            lambda: self._reader.rows.stamps(*name, step_min=first, step_max=last)
        )
        return found

    async def view(self, branch_id: str) -> RunView | None:
        """A branch; None where nothing of it has come."""

        def look() -> RunView | None:
            try:
                return self._reader.branch(branch_id)
            except NotFoundError:
                return None

        found: RunView | None = await self._ask(look)
        return found

    async def held(self, name: Name) -> RunView:
        """What holds a name.

        Raises:
            NotFoundError: nothing does.
        """
        found: RunView = await self._ask(lambda: self._reader.run(*name))
        return found
