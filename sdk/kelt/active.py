"""The runs that this process has open: `kelt.run` is the newest of them that was made current."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kelt.active_run import Run


class ActiveRuns:
    """Open runs in the order in which they became current.

    Attributes:
        current: what `kelt.run` is.
    """

    def __init__(self) -> None:
        self.current: Run | None = None
        self._stack: list[Run] = []
        self._open: list[Run] = []

    def add(self, run: Run, *, make_current: bool) -> None:
        """A run was opened."""
        self._open.append(run)
        if make_current:
            self._stack.append(run)
            self.current = run

    def remove(self, run: Run) -> None:
        """A run was finished: the one that was current before becomes so again."""
        self._open = [r for r in self._open if r is not run]
        self._stack = [r for r in self._stack if r is not run]
        self.current = self._stack[-1] if self._stack else None

    @property
    def all(self) -> list[Run]:
        """Every open run."""
        return list(self._open)


#: The process's own.
active = ActiveRuns()
