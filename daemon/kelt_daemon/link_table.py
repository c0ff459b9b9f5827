"""The upstreams that are known, each with the one link that all folders sent there share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import anyio.abc

from kelt_daemon.config import DaemonConfig
from kelt_daemon.heartbeats import beat_for
from kelt_daemon.host import Host
from kelt_daemon.links import UpstreamLink
from kelt_daemon.recheck import recheck_for
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.upstream import Access, Upstream


class LinkTable:
    """Links by the addresses of their upstreams.

    Args:
        tasks: the daemon's task group.
        folders: gives all run folders.
        activate: has a folder minded of which its upstream has lost something.
        host: this machine.
        config: bounds and intervals.
        make_upstream: speaks to the server at an address.
    """

    def __init__(
        self,
        *,
        tasks: anyio.abc.TaskGroup,
        folders: Callable[[], Collection[RunFolder]],
        activate: Callable[[RunFolder], None],
        host: Host,
        config: DaemonConfig,
        make_upstream: Callable[[str], Upstream],
    ) -> None:
        self._tasks = tasks
        self._folders = folders
        self._activate = activate
        self._host = host
        self._config = config
        self._make_upstream = make_upstream
        self._links: dict[str, UpstreamLink] = {}
        self._connected: set[str] = set()
        self._access: dict[str, Access] = {}

    def all(self) -> Collection[UpstreamLink]:
        """Every link, connected or not."""
        return self._links.values()

    def of(self, url: str) -> UpstreamLink:
        """The relation to an upstream; it is connected once something needs it."""
        if url not in self._links:
            link = UpstreamLink(
                url=url,
                upstream=self._make_upstream(url),
                config=self._config,
                backlog=partial(self._backlog_records, url),
                now=self._host.now,
                chance=self._host.chance,
            )
            access = self._access.get(url, Access())
            link.take_way(ca_file=access.ca_file, proxy=access.proxy)
            link.take_key(access.api_key)
            self._links[url] = link
        return self._links[url]

    def connected(self, url: str) -> UpstreamLink:
        """As `of`, and its connection is kept from now on."""
        link = self.of(url)
        if url not in self._connected:
            self._connected.add(url)
            folders, config = self._folders, self._config
            self._tasks.start_soon(link.run)
            self._tasks.start_soon(partial(beat_for, link, folders=folders, config=config))
            self._tasks.start_soon(
                partial(recheck_for, link, folders=folders, activate=self._activate, config=config)
            )
        return link

    def keep_access(self, url: str, access: Access) -> None:
        """The key and the way that are used for an upstream until a caller gives another."""
        self._access[url] = access

    def _backlog_records(self, url: str) -> int:
        """Records on this host that an upstream lacks."""
        return sum(
            folder.durable_records - folder.committed_records
            for folder in self._folders()
            if folder.link.url == url and not folder.is_held
        )
