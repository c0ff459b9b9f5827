"""The daemon's relation to one upstream: connected, unreachable or refused, and what follows.

One task keeps the connection. Whoever uses it waits until it is ready and reports how calls went.
While the upstream does not answer, that task alone tries, with jitter; when it answers again all
others go on. After a refusal nobody tries until a person gave another key or asked for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import anyio
import structlog

from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import RefusedError, RetryableError, UnreachableError, UpstreamError
from kelt_daemon.retry import Backoff, Breaker
from kelt_daemon.signals import Signal
from kelt_daemon.upstream import ServerInfo, Upstream

log = structlog.get_logger()


class LinkState(Enum):
    """As `UpstreamState.State`, by name."""

    CONNECTING = 1
    REACHABLE = 2
    UNREACHABLE = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class LinkReport:
    """How it stands with an upstream, for people too."""

    state: LinkState
    reason: str
    since: float


class UpstreamLink:
    """The relation to one upstream.

    Args:
        url: its address.
        upstream: speaks to it.
        config: intervals and bounds.
        backlog: how many records wait for this upstream, for the log.
        now: the time of day, Unix seconds.
        chance: evenly distributed in [0, 1).
    """

    def __init__(
        self,
        *,
        url: str,
        upstream: Upstream,
        config: DaemonConfig,
        backlog: Callable[[], int],
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        self.upstream = upstream
        self.report = LinkReport(LinkState.CONNECTING, "", now())
        self.info: ServerInfo | None = None
        #: After every change of `report`.
        self.changed = Signal()
        #: Bounds what all folders together have under way.
        self.slots = anyio.CapacityLimiter(config.pushes_per_upstream_max)
        self._now = now
        self._chance = chance
        self._reported_at_s = 0.0
        self._api_key = ""
        self._config = config
        self._backlog = backlog
        self._backoff = Backoff(min_s=config.backoff_s_min, max_s=config.backoff_s_max)
        self._breaker = Breaker(failures_max=config.breaker_failures)
        self._retry_after_s: float | None = None
        self._lost = Signal()
        self._nudged = Signal()
        #: Counts connections, so that a late report of an earlier one does no harm.
        self.connection = 0

    @property
    def is_ready(self) -> bool:
        """Whether calls can be made."""
        return self.report.state is LinkState.REACHABLE

    @property
    def default_entity(self) -> str:
        """The upstream's, once known."""
        return self.info.default_entity if self.info else ""

    async def wait_ready(self) -> None:
        """Until calls can be made."""
        while not self.is_ready:
            await self.changed.wait()

    async def wait_settled(self) -> None:
        """Until it is known whether calls can be made."""
        while self.report.state is LinkState.CONNECTING:
            await self.changed.wait()

    def take_key(self, api_key: str) -> None:
        """Takes a caller's key. Another one than before ends a refusal."""
        is_new = bool(api_key) and api_key != self._api_key
        self._api_key = api_key or self._api_key
        # Without another key, something else may have been put right: asked now and then.
        is_old = anyio.current_time() - self._reported_at_s > self._config.backoff_s_max
        if self.report.state is LinkState.REFUSED and (is_new or is_old):
            self.nudge()

    def nudge(self) -> None:
        """Do not sit out a back-off or a refusal."""
        if self.report.state is LinkState.REFUSED:
            self._set(LinkState.CONNECTING, "")
        self._nudged.notify()

    def succeeded(self) -> None:
        """A call worked."""
        self._backoff = self._backoff.succeeded()
        self._breaker = self._breaker.succeeded()

    def failed(self, error: UpstreamError, *, connection: int) -> None:
        """A call failed. What it means for everybody is decided here.

        Args:
            error: as the call raised it.
            connection: `self.connection` as it was when the call was made.
        """
        if connection != self.connection or not self.is_ready:
            return
        if isinstance(error, RefusedError):
            self._set(LinkState.REFUSED, str(error))
            self._lost.notify()
            return
        if isinstance(error, RetryableError):
            self._breaker = self._breaker.failed()
            self._retry_after_s = error.retry_after_s
            if isinstance(error, UnreachableError) or self._breaker.is_open:
                self._set(LinkState.UNREACHABLE, str(error))
                self._lost.notify()

    async def run(self) -> None:
        """Keeps the connection; ends by cancellation."""
        try:
            while True:
                while self.report.state is LinkState.REFUSED:
                    await self._nudged.wait()
                if self.report.state is LinkState.UNREACHABLE:
                    await self._wait_backoff()
                if await self._connect():
                    await self._wait_lost()
        finally:
            await self.upstream.aclose()

    async def _wait_lost(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_connection)
            while self.is_ready:
                await self._lost.wait()
            group.cancel_scope.cancel()

    async def _watch_connection(self) -> None:
        """A server that went away without a call under way may come back as another one."""
        await self.upstream.wait_lost()
        if self.is_ready:
            self._set(LinkState.CONNECTING, "")
            self._lost.notify()

    async def _wait_backoff(self) -> None:
        self._backoff = self._backoff.failed()
        delay_s = self._backoff.delay_s(chance=self._chance(), retry_after_s=self._retry_after_s)
        self._retry_after_s = None
        await self._nudged.wait_at_most(delay_s)

    async def _connect(self) -> bool:
        self.connection += 1
        api_key = self._api_key
        try:
            with anyio.fail_after(3 * self._config.call_deadline_s):
                self.info = await self.upstream.connect(api_key)
        except RefusedError as error:
            # Another key may have come meanwhile: then that one is tried before anything is said.
            is_current = api_key == self._api_key
            self._set(
                LinkState.REFUSED if is_current else LinkState.CONNECTING,
                str(error) if is_current else "",
            )
        except UpstreamError as error:
            self._retry_after_s = getattr(error, "retry_after_s", None)
            self._set(LinkState.UNREACHABLE, str(error))
        except TimeoutError:
            self._set(LinkState.UNREACHABLE, f"{self.url} does not answer in time.")
        else:
            self._breaker = self._breaker.succeeded()
            self._set(LinkState.REACHABLE, "")
            return True
        return False

    def _set(self, state: LinkState, reason: str) -> None:
        """One line in the log for a loss, and one for the recovery, however long it lasts."""
        before = self.report
        if before.state is state:
            if before.reason != reason:
                self.report = LinkReport(state, reason, before.since)
                self.changed.notify()
            return
        self.report = LinkReport(state, reason, self._now())
        self._reported_at_s = anyio.current_time()
        if state is LinkState.CONNECTING:
            log.info("upstream_connecting", upstream=self.url)
        elif state is LinkState.REACHABLE:
            log.info("upstream_reachable", upstream=self.url, backlog_records=self._backlog())
        else:
            event = f"upstream_{state.name.lower()}"
            log.warning(event, upstream=self.url, reason=reason)
        self.changed.notify()
