"""Both real stores in a folder, with the committer and the reader on them, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelt_proto.v1 import record_pb2
from kelt_server.access.accounts import Accounts
from kelt_server.access.callers import Caller
from kelt_server.access.gate import Gate
from kelt_server.api import history
from kelt_server.config import ServerConfig
from kelt_server.counters import Counters
from kelt_server.ingest.group import GroupCommitter
from kelt_server.ingest.pushes import Push, WriterAck
from kelt_server.metrics.store import PageRequest
from kelt_server.reader import RunReader
from kelt_server.stores import Stores, open_stores

NOW = 5000.0


def reader_on(stores: Stores, *, server_started_at: float = NOW - 10) -> RunReader:
    return RunReader(
        catalog=stores.catalog,
        metrics=stores.metrics,
        objects=stores.objects,
        clock=lambda: NOW,
        server_started_at=server_started_at,
        lease_s=1800.0,
        default_entity="local",
    )


def gate_of(api_key: str = "", accounts: Accounts | None = None) -> Gate:
    found = accounts or Accounts()
    return Gate(api_key=api_key, accounts=lambda: found, default_entity="local")


@dataclass
class Stand:
    stores: Stores
    group: GroupCommitter
    reader: RunReader
    counters: Counters

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Stand]:
        stores = open_stores(ServerConfig(folder=folder))
        try:
            yield cls.on(stores)
        finally:
            stores.close()

    @classmethod
    def on(cls, stores: Stores, metrics: Any = None) -> Stand:
        counters = Counters()
        reader = reader_on(stores)
        group = GroupCommitter(
            catalog=stores.catalog,
            metrics=metrics or stores.metrics,
            objects=stores.objects,
            clock=lambda: NOW,
            default_entity="local",
            counters=counters,
            noticed=reader.notice,
        )
        return cls(stores, group, reader, counters)

    def as_if_started_at(self, at: float) -> None:
        """What is read from now on is read by a server that has run since then."""
        self.reader = reader_on(self.stores, server_started_at=at)

    def push(
        self, batches: Sequence[record_pb2.Batch], caller: Caller | None = None
    ) -> list[WriterAck]:
        (result,) = self.group.commit([Push(batches, caller)])
        if isinstance(result, Exception):
            raise result
        return result

    def rows(self, run: str, *, label: str = "", **limits: Any) -> list[dict[str, Any]]:
        """All pages of a history, in the API's JSON."""
        found: list[dict[str, Any]] = []
        request = PageRequest(spans=(), ranks={}, **{"limit": 10_000, **limits})
        after_writer = None
        while True:
            page, writers = self.reader.rows.page(
                "-", "proj", run, request, after_writer, label=label
            )
            token = None if page.next is None else history.write_token(page.next, writers)
            found += history.page_json(page, token, writers)["rows"]
            if token is None:
                return found
            after, after_writer = history.read_token(token)
            request = PageRequest(spans=(), ranks={}, after=after, **limits)

    def run(self, run: str) -> dict[str, Any]:
        return self.reader.run("-", "proj", run).as_json()
