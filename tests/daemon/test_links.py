"""The relation to an upstream, with an upstream that answers as it is told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import trio.testing
from structlog.testing import capture_logs

from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import OverloadedError, RefusedError, UnreachableError
from kelt_daemon.links import Call, LinkState, UpstreamLink
from kelt_daemon.upstream import Access, ServerInfo

pytestmark = pytest.mark.anyio
INFO = ServerInfo(server_id="s", version="1", default_entity="e", push_bytes_max=1000)


@pytest.fixture
def anyio_backend():
    """Its clock jumps: no machine is too slow for it."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class ScriptedUpstream:
    """Connects as the script says: an error to raise, or None for an answer."""

    artifacts = None

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.keys: list[str] = []
        self.accesses: list[Access] = []
        self.entered = anyio.Event()
        self.may_answer = anyio.Event()
        self.may_answer.set()
        self.breaks_at_once = False

    async def connect(self, access: Access) -> ServerInfo:
        self.keys.append(access.api_key)
        self.accesses.append(access)
        self.entered.set()
        await self.may_answer.wait()
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        return INFO

    async def wait_lost(self) -> None:
        if self.breaks_at_once:
            await anyio.lowlevel.checkpoint()
            return
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def linked(upstream: ScriptedUpstream, **changes):
    times = {"backoff_s_min": 0.001, "backoff_s_max": 0.002}
    config = DaemonConfig(**{**times, **changes})
    link = UpstreamLink(url="http://u", upstream=upstream, config=config, backlog=lambda: 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        with anyio.fail_after(60):
            yield link
        tasks.cancel_scope.cancel()


async def until(link: UpstreamLink, state: LinkState) -> None:
    while link.report.state is not state:
        await link.changed.wait()


async def test_it_tries_again_until_the_upstream_answers():
    upstream = ScriptedUpstream(*[UnreachableError("no")] * 5)
    async with linked(upstream) as link:
        await link.wait_ready()
    assert len(upstream.keys) == 6


async def test_after_a_refusal_nobody_tries_until_another_key_comes():
    upstream = ScriptedUpstream(RefusedError("no"))
    async with linked(upstream) as link:
        await until(link, LinkState.REFUSED)
        link.take_key("")
        await anyio.sleep(0.001)
        assert upstream.keys == [""]
        link.take_key("k")
        await link.wait_ready()
    assert upstream.keys == ["", "k"]


async def test_a_key_that_comes_while_another_is_being_refused_is_tried_at_once():
    upstream = ScriptedUpstream(RefusedError("no"))
    upstream.may_answer = anyio.Event()
    async with linked(upstream) as link:
        await upstream.entered.wait()
        link.take_key("k")
        upstream.may_answer.set()
        await link.wait_ready()
    assert upstream.keys == ["", "k"]


async def test_errors_in_answers_open_the_breaker_only_after_some_in_a_row():
    upstream = ScriptedUpstream()
    async with linked(upstream) as link:
        await link.wait_ready()
        for _ in range(4):
            link.failed(OverloadedError("busy"), connection=link.connection)
        assert link.is_ready
        link.succeeded()
        for _ in range(4):
            link.failed(OverloadedError("busy"), connection=link.connection)
        assert link.is_ready
        link.failed(OverloadedError("busy"), connection=link.connection)
        assert link.report.state is LinkState.UNREACHABLE
        await link.wait_ready()
    assert len(upstream.keys) == 2


async def test_a_late_report_of_an_earlier_connection_does_no_harm():
    async with linked(ScriptedUpstream()) as link:
        await link.wait_ready()
        earlier = link.connection
        link.failed(UnreachableError("gone"), connection=earlier)
        await until(link, LinkState.REACHABLE)
        link.failed(UnreachableError("gone"), connection=earlier)
        assert link.is_ready


async def test_success_of_other_calls_does_not_hide_that_pushes_fail():
    upstream = ScriptedUpstream()
    async with linked(upstream) as link:
        await link.wait_ready()
        for _ in range(5):
            link.succeeded(Call.OTHER)
            link.failed(OverloadedError("no"), connection=link.connection, call=Call.PUSH)
        assert link.report.state is LinkState.UNREACHABLE


async def test_after_a_failure_one_push_at_a_time_is_let_through_until_one_works():
    upstream = ScriptedUpstream()
    async with linked(upstream, pushes_per_upstream_max=8) as link:
        await link.wait_ready()
        assert link.slots.total_tokens == 8
        link.failed(UnreachableError("gone"), connection=link.connection, call=Call.PUSH)
        await link.wait_ready()
        assert link.slots.total_tokens == 1
        link.succeeded(Call.OTHER)
        assert link.slots.total_tokens == 1
        # A single failure of the probe is enough to stop again.
        link.failed(UnreachableError("gone"), connection=link.connection, call=Call.PUSH)
        await link.wait_ready()
        link.succeeded(Call.PUSH)
        assert link.slots.total_tokens == 8


async def test_the_more_pushes_are_under_way_the_smaller_each_may_be():
    bounds = {"pushes_per_upstream_max": 32, "pushes_bytes_max": 8000, "push_bytes_min": 1000}
    async with linked(ScriptedUpstream(), **bounds) as link:
        allowed = []
        for _ in range(16):
            link.slots.acquire_on_behalf_of_nowait(object())
            allowed.append(link.push_bytes_max(4000))
    assert allowed == [4000, 4000, 2666, 2000, 1600, 1333, 1142, *[1000] * 9]


async def test_calls_that_fail_now_and_then_pause_all_once_the_budget_is_spent():
    upstream = ScriptedUpstream()
    async with linked(upstream, retry_reserve=3.0, retry_share=0.1) as link:
        await link.wait_ready()
        repeated = 0
        while link.is_ready:
            for _ in range(3):
                link.succeeded(Call.PUSH)
            link.failed(OverloadedError("no"), connection=link.connection, call=Call.PUSH)
            repeated += 1
        assert repeated == 3  # never two in a row: the breaker alone would go on for ever


async def test_what_the_upstream_asks_for_is_waited_for():
    upstream = ScriptedUpstream(OverloadedError("no", retry_after_s=0.5))
    async with linked(upstream) as link:
        began_s = anyio.current_time()
        await link.wait_ready()
        assert anyio.current_time() - began_s >= 0.5


async def test_another_authority_or_proxy_is_tried_at_once():
    upstream = ScriptedUpstream(UnreachableError("not trusted"))
    async with linked(upstream, backoff_s_min=1e6, backoff_s_max=1e6) as link:
        await until(link, LinkState.UNREACHABLE)
        link.take_way(ca_file=Path("/ca"), proxy="")
        assert link.report.state is LinkState.CONNECTING  # what was found before is void
        await link.wait_ready()
        link.take_way(ca_file=None, proxy="http://p")
    assert [access.ca_file for access in upstream.accesses] == [None, Path("/ca")]


async def test_an_authority_that_is_named_while_it_is_tried_without_is_tried_at_once():
    upstream = ScriptedUpstream(UnreachableError("not trusted"))
    upstream.may_answer = anyio.Event()
    async with linked(upstream, backoff_s_min=1e6, backoff_s_max=1e6) as link:
        await upstream.entered.wait()
        link.take_way(ca_file=Path("/ca"), proxy="")
        upstream.may_answer.set()
        await link.wait_ready()
    assert [access.ca_file for access in upstream.accesses] == [None, Path("/ca")]


async def test_a_link_that_flaps_is_told_once_and_one_that_stays_lost_is_told_in_the_end():
    upstream = ScriptedUpstream()
    with capture_logs() as lines:
        async with linked(upstream, flap_quiet_s=0.3) as link:
            for _ in range(20):
                await link.wait_ready()
                link.failed(UnreachableError("gone"), connection=link.connection)
            events = [line["event"] for line in lines]
            assert events.count("upstream_unreachable") == 1
            assert events.count("upstream_reachable") == 2  # the first, and after the told loss
            upstream.script = [UnreachableError("gone")] * 10_000
            while [x["event"] for x in lines].count("upstream_unreachable") < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            last = [x for x in lines if x["event"] == "upstream_unreachable"][-1]
            assert last["losses"] == 19  # this one among them
            upstream.script = []
            await link.wait_ready()
    assert [x["event"] for x in lines][-1] == "upstream_reachable"


async def test_a_connection_that_breaks_at_once_is_made_less_and_less_often():
    upstream = ScriptedUpstream()
    upstream.breaks_at_once = True
    async with linked(upstream, backoff_s_min=0.02, backoff_s_max=5.0):
        await anyio.sleep(0.5)
    assert len(upstream.keys) < 25
