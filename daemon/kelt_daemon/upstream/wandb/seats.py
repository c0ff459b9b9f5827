"""What is kept in memory of each run at one W&B server, and its signs of life.

A run has a sign of life where it had no other post for a while. None comes behind the word of its
end: W&B would take the run to go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from kelt_daemon.errors import NotYetError, RejectedDataError, RunRefusedError
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.carrying import Speaker
from kelt_daemon.upstream.wandb.ordering import QueuedRun, RunQueue


@dataclass(eq=False)
class Seat:
    """One run: what is done for it is done one after the other.

    Attributes:
        lock: held for that.
        beating: held for a sign of life that is given beside a push.
        is_sending_files: whether the push that goes on sends nothing else, perhaps for long.
        run: as far as it is; None: to be read from its file.
        posted_at_s: when it had its last post.
        must_stop: whether somebody asked W&B to stop it.
        is_swept: whether what an earlier daemon left of its files was looked for.
    """

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    beating: anyio.Lock = field(default_factory=anyio.Lock)
    is_sending_files: bool = False
    run: CarriedRun | None = None
    posted_at_s: float = 0.0
    must_stop: bool = False
    is_swept: bool = False


class Seats:
    """Those of all runs.

    Args:
        queue: the run folders that go there.
        kept: what the server has acknowledged of one.
        speaker: the server.
        interval_s: after which a run needs a sign of life.
    """

    def __init__(
        self,
        *,
        queue: RunQueue,
        kept: Callable[[QueuedRun], Awaitable[CarriedRun]],
        speaker: Speaker,
        interval_s: float,
    ) -> None:
        self._queue = queue
        self._kept = kept
        self._speaker = speaker
        self._interval_s = interval_s
        self._seats: dict[bytes, Seat] = {}

    def of(self, writer_id: bytes) -> Seat:
        """The seat of the run whose trainer that is."""
        return self._seats.setdefault(writer_id, Seat())

    async def beat(self, writer_ids: Sequence[bytes]) -> None:
        """Gives signs of life where they are due."""
        for me in self._queue.of(writer_ids):
            seat = self.of(me.writer_id)
            if anyio.current_time() - seat.posted_at_s < self._interval_s:
                continue
            if not seat.lock.locked():
                async with seat.lock:
                    await self._beat(seat.run or await self._kept(me), seat)
            elif seat.is_sending_files and seat.run is not None:
                async with seat.beating:
                    await self._beat(seat.run, seat)

    async def _beat(self, run: CarriedRun, seat: Seat) -> None:
        if not run.is_begun or run.is_completed:
            return
        seat.posted_at_s = anyio.current_time()  # also where nothing comes of it
        # What is the run's own fault its next push tells.
        with contextlib.suppress(NotYetError, RunRefusedError, RejectedDataError):
            await self._speaker.stream(run, {})
