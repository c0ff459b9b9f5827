"""The relation to an upstream, with an upstream that answers as it is told."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import OverloadedError, RefusedError, UnreachableError
from kelt_daemon.links import LinkState, UpstreamLink
from kelt_daemon.upstream import ServerInfo

pytestmark = pytest.mark.anyio
INFO = ServerInfo(server_id="s", version="1", default_entity="e", push_bytes_max=1000)


@pytest.fixture
def anyio_backend():
    return "trio"


class ScriptedUpstream:
    """Connects as the script says: an error to raise, or None for an answer."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.keys: list[str] = []
        self.entered = anyio.Event()
        self.may_answer = anyio.Event()
        self.may_answer.set()

    async def connect(self, api_key: str) -> ServerInfo:
        self.keys.append(api_key)
        self.entered.set()
        await self.may_answer.wait()
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        return INFO

    async def wait_lost(self) -> None:
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def linked(upstream: ScriptedUpstream):
    config = DaemonConfig(backoff_s_min=0.001, backoff_s_max=0.002)
    link = UpstreamLink(url="http://u", upstream=upstream, config=config, backlog=lambda: 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        with anyio.fail_after(10):
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
