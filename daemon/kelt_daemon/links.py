"""The daemon's relation to one upstream: connected, unreachable or refused, and what follows.

One task keeps the connection. Whoever uses it waits until it is ready and reports how calls went.
While the upstream does not answer, that task alone tries, with jitter; when it answers again all
others go on. After a refusal it tries once a person gave another key or asked for it, and seldom
by itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import anyio
import structlog

from kelt.notices import Notices
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import (
    RefusedError,
    RetryableError,
    RunRefusedError,
    UnreachableError,
    UpstreamError,
)
from kelt_daemon.retry import Backoff, Breaker, RetryBudget
from kelt_daemon.signals import Signal
from kelt_daemon.upstream import Access, ServerInfo, Upstream

log = structlog.get_logger()


class LinkState(Enum):
    """As `UpstreamState.State`, by name."""

    CONNECTING = 1
    REACHABLE = 2
    UNREACHABLE = 3
    REFUSED = 4


class Call(Enum):
    """Kinds of calls: what works for one says nothing of another."""

    PUSH = 1
    OTHER = 2


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
        self._access = Access()
        self._connected_with = self._access
        self._config = config
        self._backlog = backlog
        self._backoff = Backoff(min_s=config.backoff_s_min, max_s=config.backoff_s_max)
        closed = Breaker(failures_max=config.breaker_failures)
        self._breakers = dict.fromkeys(Call, closed)
        self._budget = RetryBudget.full(share=config.retry_share, reserve=config.retry_reserve)
        self._notices = Notices(quiet_s=config.flap_quiet_s)
        self._retry_after_s: float | None = None
        self._lost = Signal()
        #: Connections in a row that broke soon after they were made.
        self._breaks = 0
        self._nudged = Signal()
        #: Counts connections, so that a late report of an earlier one does no harm.
        self.connection = 0

    @property
    def is_ready(self) -> bool:
        """Whether calls can be made."""
        return self.report.state is LinkState.REACHABLE

    def push_bytes_max(self, limit: int) -> int:
        """How large a push may be beside those that are under way, of at most `limit`."""
        share = self._config.pushes_bytes_max // max(1, self.slots.borrowed_tokens)
        return min(limit, max(share, self._config.push_bytes_min))

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
        is_new = bool(api_key) and api_key != self._access.api_key
        self._access = replace(self._access, api_key=api_key or self._access.api_key)
        # Without another key, something else may have been put right: asked now and then.
        is_old = anyio.current_time() - self._reported_at_s > self._config.backoff_s_max
        if self.report.state is LinkState.REFUSED and (is_new or is_old):
            self.nudge()

    def take_way(self, *, ca_file: Path | None, proxy: str) -> None:
        """Takes a caller's way there; what it does not name stays as it was."""
        before = self._access
        self._access = replace(
            before, ca_file=ca_file or before.ca_file, proxy=proxy or before.proxy
        )
        if self._access != before and self.report.state is LinkState.UNREACHABLE:
            # What was found on the way before says nothing of this one.
            self._set(LinkState.CONNECTING, "")
            self.nudge()

    def nudge(self) -> None:
        """Do not sit out a back-off or a refusal."""
        if self.report.state is LinkState.REFUSED:
            self._set(LinkState.CONNECTING, "")
        self._nudged.notify()

    def succeeded(self, call: Call = Call.OTHER) -> None:
        """A call worked."""
        self._budget = self._budget.earned()
        self._breakers[call] = self._breakers[call].succeeded()
        if not self._is_suspicious:
            self._backoff = self._backoff.succeeded()
            self.slots.total_tokens = self._config.pushes_per_upstream_max

    @property
    def _is_suspicious(self) -> bool:
        return any(breaker.is_suspicious for breaker in self._breakers.values())

    def failed(self, error: UpstreamError, *, connection: int, call: Call = Call.OTHER) -> None:
        """A call failed. What it means for everybody is decided here.

        Args:
            error: as the call raised it.
            connection: `self.connection` as it was when the call was made.
            call: what it was.
        """
        if connection != self.connection or not self.is_ready:
            return
        if isinstance(error, RefusedError):
            self._set(LinkState.REFUSED, str(error))
            self._lost.notify()
            return
        if isinstance(error, RunRefusedError) and self._access != self._connected_with:
            # Perhaps not by the key that came meanwhile.
            self._set(LinkState.CONNECTING, "")
            self._lost.notify()
            return
        if isinstance(error, RetryableError):
            breaker = self._breakers[call] = self._breakers[call].failed()
            self._budget = self._budget.spent()
            self._retry_after_s = error.retry_after_s
            is_enough = breaker.is_open or self._budget.is_empty
            if isinstance(error, UnreachableError) or is_enough:
                self._set(LinkState.UNREACHABLE, str(error))
                self._lost.notify()

    async def run(self) -> None:
        """Keeps the connection; ends by cancellation."""
        try:
            while True:
                if self.report.state is LinkState.REFUSED:
                    await self._nudged.wait_at_most(self._config.refused_retry_s)
                if self.report.state is LinkState.UNREACHABLE:
                    await self._wait_backoff()
                if await self._connect():
                    connected_at_s = anyio.current_time()
                    await self._wait_lost()
                    lived_s = anyio.current_time() - connected_at_s
                    if lived_s >= self._config.backoff_s_max:
                        self._backoff, self._breaks = self._backoff.succeeded(), 0
                    elif self.report.state is LinkState.CONNECTING:
                        # The first break is looked into at once, those after it less often.
                        self._breaks += 1
                        if self._breaks > 1:
                            await self._wait_backoff()
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
        access = self._access
        self.slots.total_tokens = 1 if self._is_suspicious else self._config.pushes_per_upstream_max
        try:
            with anyio.fail_after(3 * self._config.call_deadline_s):
                self.info = await self.upstream.connect(access)
        except RefusedError as error:
            self._set_failed(access, LinkState.REFUSED, str(error))
        except UpstreamError as error:
            self._retry_after_s = getattr(error, "retry_after_s", None)
            self._set_failed(access, LinkState.UNREACHABLE, str(error))
        except TimeoutError:
            reason = f"{self.url} does not answer in time."
            self._set_failed(access, LinkState.UNREACHABLE, reason)
        except Exception as error:  # whatever one upstream answers, the others go on
            log.exception("upstream_failed", upstream=self.url)
            reason = f"What {self.url} answers cannot be handled ({type(error).__name__})."
            self._set_failed(access, LinkState.UNREACHABLE, reason)
        else:
            self._connected_with = access
            self._set(LinkState.REACHABLE, "")
            return True
        return False

    def _set_failed(self, access: Access, state: LinkState, reason: str) -> None:
        """A key or a way that came meanwhile is tried before anything is said."""
        if access == self._access:
            self._set(state, reason)
        else:
            self._set(LinkState.CONNECTING, "")

    def _set(self, state: LinkState, reason: str) -> None:
        before = self.report
        if before.state is not state or before.reason != reason:
            is_same = before.state is state
            self.report = LinkReport(state, reason, before.since if is_same else self._now())
            self._reported_at_s = self._reported_at_s if is_same else anyio.current_time()
            self._tell(state, is_new=not is_same)
            self.changed.notify()
        elif state is LinkState.UNREACHABLE:
            self._tell(state, is_new=False)

    def _tell(self, state: LinkState, *, is_new: bool) -> None:
        """One line for a loss and one for the recovery, however long or often it comes."""
        notices = self._notices
        if state is LinkState.REFUSED and is_new:
            self._notices = replace(notices, is_told=True)
            log.warning("upstream_refused", upstream=self.url, reason=self.report.reason)
        elif state is LinkState.UNREACHABLE:
            self._notices = notices.lost(now_s=anyio.current_time(), is_new=is_new)
            if self._notices.is_told and not notices.is_told:
                log.warning(
                    "upstream_unreachable",
                    upstream=self.url,
                    reason=self.report.reason,
                    losses=self._notices.untold,
                )
        elif state is LinkState.REACHABLE:
            self._notices = notices.recovered()
            if notices.is_told or self.connection == 1:
                log.info("upstream_reachable", upstream=self.url, backlog_records=self._backlog())
