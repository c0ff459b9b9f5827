"""What is done to a run from outside: it is deleted, or asked to stop.

A run is deleted in turn with all that is written of it: with the commits of its writers, and with
what wandb's clients say. What lies under its name besides is moved out of the way before anybody
can begin another run of that name, and removed in the background. What a crash left undone is done
at the start (`recover`), before the server listens.

A stop is asked of the sessions that run, as far as is known. Their processes hear of it with the
next answer to a heartbeat or a post, and end as an interrupt ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager

import anyio
import anyio.to_thread
import structlog

from kelt_server.access.callers import Caller
from kelt_server.branch_names import Name
from kelt_server.catalog.deletions import Deletion, Deletions
from kelt_server.catalog.stops import Stops
from kelt_server.errors import StoreError
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.output_records import system_branch
from kelt_server.liveness import RUNNING
from kelt_server.metrics.store import MetricsStore
from kelt_server.reader import RunReader

_EVERY_S = 60.0


class RunActions:
    """Acts on runs.

    Args:
        committer: orders a deletion among commits.
        alone_with: keeps wandb's clients from saying anything of a run meanwhile.
        reader: finds out what runs, and is told what changed.
        clock: the time of day.
        deletions: of the catalog.
        stops: likewise.
        metrics: from which rows are removed.
        set_aside: each moves what lies under a run's name out of the way, at once.
        remove_aside: each removes what was moved, which may take its time.
    """

    def __init__(
        self,
        *,
        committer: Committer,
        alone_with: Callable[[Name], AbstractAsyncContextManager[Collection[bytes]]],
        reader: RunReader,
        clock: Callable[[], float],
        deletions: Deletions,
        stops: Stops,
        metrics: MetricsStore,
        set_aside: Sequence[Callable[[Name], None]] = (),
        remove_aside: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._committer = committer
        self._alone_with = alone_with
        self._reader = reader
        self._clock = clock
        self._deletions = deletions
        self._stops = stops
        self._metrics = metrics
        self._set_aside = set_aside
        self._remove_aside = remove_aside
        self._has_more = anyio.Event()

    async def delete(self, name: Name, caller: Caller) -> Deletion:
        """Deletes a run, with every branch of its name.

        Raises:
            NotFoundError: there is none.
            StoreError, BusyError: nothing was changed; it may be asked again.
        """
        async with self._alone_with(name):
            deletion = await self._committer.delete_run(name, by_user=caller.user)
            await anyio.to_thread.run_sync(self._clear)
        self._has_more.set()
        structlog.get_logger("kelt_server").info(
            "a run was deleted",
            run="/".join(name),
            by_user=caller.user,
            branches=len(deletion.former_ids),
            kept_for_others=deletion.kept,
        )
        return deletion

    async def stop(self, name: Name, caller: Caller) -> int:
        """Asks every running session of a run to stop; returns how many there are.

        Raises:
            NotFoundError: there is no such run.
            StoreError, BusyError: nobody was asked; it may be asked again.
        """
        async with self._alone_with(name) as clients:

            def ask() -> int:
                view = self._reader.run(*name)
                writers = {
                    shown.session.writer_id
                    for shown in view.sessions
                    if shown.state.state == RUNNING
                }
                writers.update(clients)  # perhaps before their first row
                self._stops.ask(writers, at=self._clock(), by_user=caller.user)
                self._reader.notice(set(writers))
                return len(writers)

            return await anyio.to_thread.run_sync(ask)

    def recover(self) -> None:
        """Does what a crash left undone; called before anybody comes in."""
        self._clear()

    async def run(self) -> None:
        """Removes what was deleted; ends by cancellation."""
        while True:
            self._has_more = anyio.Event()
            await anyio.to_thread.run_sync(self._remove, abandon_on_cancel=True)
            with anyio.move_on_after(_EVERY_S):
                await self._has_more.wait()

    def _clear(self) -> None:
        try:
            uncleared = self._deletions.uncleared()
            for name in set(uncleared.values()):
                for set_aside in self._set_aside:
                    set_aside(name)
            self._deletions.cleared(uncleared)
        except StoreError as error:
            _warn("what lies beside a deleted run stays until the server is started again", error)

    def _remove(self) -> None:
        try:
            branch_ids = self._deletions.to_remove()
            self._metrics.remove_branches([*branch_ids, *map(system_branch, branch_ids)])
            self._deletions.removed(branch_ids)
            for remove_aside in self._remove_aside:
                remove_aside()
        except StoreError as error:
            _warn("rows of deleted runs are removed later", error)


def _warn(sentence: str, error: StoreError) -> None:
    structlog.get_logger("kelt_server").warning(sentence, reason=str(error))
