"""Waking whoever waits for a change."""

from __future__ import annotations

from collections.abc import Callable

import anyio


class Signal:
    """Says that something changed.

    A waiter checks its condition and then waits, with no await between, so no change is missed;
    any number of changes meanwhile wake it once.
    """

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._listeners: dict[object, Callable[[], None]] = {}

    def notify(self) -> None:
        """Wakes all that wait now, and calls those that listen."""
        event, self._event = self._event, anyio.Event()
        event.set()
        for listener in [*self._listeners.values()]:
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has a function called at each change, without a task that waits; returns what ends it."""
        key = object()
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None

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
