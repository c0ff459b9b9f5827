"""Waking whoever waits for a change."""

from __future__ import annotations

import anyio


class Signal:
    """Says that something changed.

    A waiter checks its condition and then waits, with no await between, so no change is missed;
    any number of changes meanwhile wake it once.
    """

    def __init__(self) -> None:
        self._event = anyio.Event()

    def notify(self) -> None:
        """Wakes all that wait now."""
        event, self._event = self._event, anyio.Event()
        event.set()

    def next(self) -> anyio.Event:
        """The next change, for whoever begins to wait for it later."""
        return self._event

    async def wait(self) -> None:
        """Until the next change."""
        await self._event.wait()

    async def wait_until(self, at_s: float) -> None:
        """Until the next change or a time of the loop's clock, which is then reached exactly."""
        with anyio.CancelScope(deadline=at_s):
            await self._event.wait()

    async def wait_at_most(self, timeout_s: float) -> bool:
        """Until the next change or the end of the time; returns whether there was one."""
        with anyio.move_on_after(timeout_s):
            await self._event.wait()
            return True
        return False
