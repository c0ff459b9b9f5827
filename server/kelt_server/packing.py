"""When stored points are brought into the order of reading: while the server has time for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import anyio
import anyio.to_thread
import structlog

from kelt_server.counters import Counters
from kelt_server.errors import StoreError

_EVERY_S = 1.0
#: After a failure, such as a full disk.
_LATER_S = 60.0
#: As little as this is read whole in milliseconds, sorted or not.
_WORTH_POINTS = 2_000_000
#: As much as this is packed however busy the committing thread is.
_URGENT_POINTS = 32_000_000
#: Share of the time spent committing above which the server counts as busy.
_BUSY = 0.4


class Packable(Protocol):
    """What this needs of a metrics store."""

    @property
    def committing_s(self) -> float:
        """Seconds spent committing so far."""

    def unpacked_points(self) -> int:
        """How many points wait."""

    def pack(self) -> int:
        """Packs some of them."""


def due(unpacked_points: int, busy_share: float) -> bool:
    """Whether some are worth packing now. Pure."""
    if unpacked_points >= _URGENT_POINTS:
        return True
    return unpacked_points >= _WORTH_POINTS and busy_share <= _BUSY


@dataclass(kw_only=True)
class Packer:
    """Packs a slice whenever one is due."""

    metrics: Packable
    counters: Counters
    every_s: float = _EVERY_S

    async def run(self) -> None:
        """Until cancelled, which waits for nothing: the store ends a slice when it is closed."""
        wait_s = self.every_s
        while True:
            committing_s, at = self.metrics.committing_s, time.monotonic()
            await anyio.sleep(wait_s)
            busy = (self.metrics.committing_s - committing_s) / (time.monotonic() - at)
            try:
                await anyio.to_thread.run_sync(self._pack_if_due, busy, abandon_on_cancel=True)
                wait_s = self.every_s
            except StoreError as error:
                self.counters.packs_failed += 1
                structlog.get_logger("kelt_server.packing").warning(
                    "points could not be packed; charts of them stay slow", reason=str(error)
                )
                wait_s = _LATER_S

    def _pack_if_due(self, busy_share: float) -> None:
        unpacked = self.metrics.unpacked_points()
        if not due(unpacked, busy_share):
            return
        began = time.monotonic()
        moved = self.metrics.pack()
        self.counters.points_packed += moved
        structlog.get_logger("kelt_server.packing").info(
            "packed",
            points=moved,
            left=unpacked - moved,
            seconds=round(time.monotonic() - began, 3),
        )
