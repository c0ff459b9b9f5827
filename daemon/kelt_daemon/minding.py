"""The tasks that mind a run folder: its keeper, and what carries it to wherever it is sent."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from kelt_daemon.artifact_carrier import ArtifactCarrier
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.host import Host
from kelt_daemon.keeper import Keeper
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.shipper import Shipper


class Minder:
    """Minds run folders.

    Args:
        committer: makes journals durable.
        host: this machine.
        config: bounds and intervals.
        connect: has the connection to the upstream at an address kept.
    """

    def __init__(
        self,
        *,
        committer: GroupCommitter,
        host: Host,
        config: DaemonConfig,
        connect: Callable[[str], object],
    ) -> None:
        self._committer = committer
        self._host = host
        self._config = config
        self._connect = connect
        self._reading = anyio.CapacityLimiter(config.imports_max)
        self._replays: dict[str, anyio.CapacityLimiter] = {}
        self._artifact_turns = anyio.CapacityLimiter(config.artifacts_at_a_time_max)
        self._sending: dict[RunFolder, anyio.CancelScope] = {}

    async def mind(self, folder: RunFolder) -> None:
        """Until it is over and everything committed; raises whatever fails in its tasks."""
        keeper = Keeper(
            folder=folder,
            committer=self._committer,
            host=self._host,
            config=self._config,
            reading=self._reading,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(self._send, folder)
            await keeper.run()

    async def _send(self, folder: RunFolder) -> None:
        """Records and artifacts, side by side; of a held folder until nothing more is sent."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._carrier(folder).run)
            await self._ship(folder)
            if folder.is_held:
                group.cancel_scope.cancel()

    def sent_elsewhere(self, folder: RunFolder) -> None:
        """A folder has another upstream now: what is on its way to the one before ends."""
        if (sending := self._sending.get(folder)) is not None:
            sending.cancel()

    async def _ship(self, folder: RunFolder) -> None:
        while folder.is_held and not folder.is_over:
            await folder.changed.wait()
        if folder.is_held and not folder.pending:
            return
        is_through = False
        while not is_through:
            with anyio.CancelScope() as sending:
                self._sending[folder] = sending
                try:
                    await self._shipper(folder).run()
                finally:
                    del self._sending[folder]
            is_through = not sending.cancel_called

    def _carrier(self, folder: RunFolder) -> ArtifactCarrier:
        return ArtifactCarrier(
            folder=folder,
            committer=self._committer,
            host=self._host,
            config=self._config,
            turns=self._artifact_turns,
        )

    def _shipper(self, folder: RunFolder) -> Shipper:
        url = folder.link.url
        if not folder.is_over or not folder.is_committed or folder.is_unconfirmed:
            self._connect(url)
        limit = self._config.replays_per_upstream_max
        return Shipper(
            folder=folder,
            host=self._host,
            config=self._config,
            replays=self._replays.setdefault(url, anyio.CapacityLimiter(limit)),
        )
