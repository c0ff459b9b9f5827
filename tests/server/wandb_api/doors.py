"""A door on both real stores, without a network: posts and upserts as clients send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.stand import NOW, Stand
from sqlalchemy import Engine, select

from kelt_proto.v1 import record_pb2
from kelt_server.access.callers import Caller
from kelt_server.branch_names import Name
from kelt_server.catalog.deletions import Deletion
from kelt_server.catalog.tables import WANDB_SESSIONS
from kelt_server.errors import StoreError
from kelt_server.facts import LifeSign
from kelt_server.ingest.pushes import WriterAck
from kelt_server.run_actions import RunActions
from kelt_server.wandb_api import Door, SessionTable
from kelt_server.wandb_api.posts import read_post
from kelt_server.wandb_api.upserts import read_upsert

NAME = ("local", "proj", "run")


class Commits:
    """Commits at once, and fails when told to: before, after, or between the two stores."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.failing: list[str] = []
        self.beats: list[LifeSign] = []

    async def push(self, batches: Sequence[record_pb2.Batch]) -> list[WriterAck]:
        how = self.failing.pop() if self.failing else ""
        if how == "before":
            raise StoreError("not now")
        if how == "between":
            self._stand.stores.metrics.commit, kept = _refusing, self._stand.stores.metrics.commit
            try:
                return self._stand.push(batches)
            finally:
                self._stand.stores.metrics.commit = kept
        found = self._stand.push(batches)
        if how == "after":
            raise StoreError("nobody heard of it")
        return found

    async def delete_run(self, name: Name, *, by_user: str) -> Deletion:
        return self._stand.group.delete_run(name, by_user=by_user)

    def beat(self, signs: Iterable[LifeSign]) -> None:
        self.beats += signs


def _refusing(*_: Any) -> None:
    raise StoreError("no room")


class Table(SessionTable):
    """Fails when told to: with nothing written, or with all of it."""

    def __init__(self, engine: Engine, failing: list[str]) -> None:
        super().__init__(engine)
        self._failing = failing

    def save(self, *sessions: Any, **more: Any) -> None:
        how = self._failing.pop() if self._failing else ""
        if how == "before":
            raise StoreError("not now")
        super().save(*sessions, **more)
        if how == "after":
            raise StoreError("nobody heard of it")


class DoorStand:
    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.commits = Commits(stand)
        self.saves_failing: list[str] = []
        self.now = NOW
        self.set_aside: list[Callable[[Name], None]] = []
        self.restart()

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[DoorStand]:
        with Stand.opened(folder) as stand:
            yield cls(stand)

    def restart(self) -> None:
        """Forgets all that is only in memory."""
        self.door = Door(
            table=Table(self.stand.stores.catalog.engine, self.saves_failing),
            committer=self.commits,  # type: ignore[arg-type]
            reader=self.stand.reader,
            clock=lambda: self.now,
            counters=self.stand.counters,
            default_entity="local",
            times_deleted=self.stand.stores.catalog.deletions.count,
            is_stopped=self.stand.stores.catalog.stops.is_asked,
        )
        self.actions = RunActions(
            committer=self.commits,  # type: ignore[arg-type]
            alone_with=self.door.alone_with,
            reader=self.stand.reader,
            clock=lambda: self.now,
            stops=self.stand.stores.catalog.stops,
            deletions=self.stand.stores.catalog.deletions,
            metrics=self.stand.stores.metrics,
            set_aside=self.set_aside,
        )

    def delete(self, name: tuple[str, str, str] = NAME) -> None:
        asyncio.run(self.actions.delete(name, Caller(entity="local", sees_all=True)))

    def stop(self, name: tuple[str, str, str] = NAME) -> int:
        return asyncio.run(self.actions.stop(name, Caller(entity="local", sees_all=True)))

    def begin(self, name: tuple[str, str, str] = NAME, **said: Any) -> int:
        config = {k: {"value": v} for k, v in said.pop("config", {}).items()}
        internal: dict[str, Any] = {"m": said.pop("m", [])}
        if "point" in said:
            run_id, step = said.pop("point")
            internal["branch_point"] = {"run_id": run_id, "step": step}
        said.setdefault("host", "h")
        return self.upsert(name, config={**config, "_wandb": {"value": internal}}, **said)

    def upsert(self, name: tuple[str, str, str] = NAME, **said: Any) -> int:
        self.now += 1
        if "config" in said:
            said["config"] = json.dumps(said["config"])
        client = said.pop("client", "")
        upsert = read_upsert({"name": name[2], **said})
        return asyncio.run(self.door.upsert(name, upsert, client))

    def rewind(self, step: int, name: tuple[str, str, str] = NAME) -> None:
        self.now += 1
        asyncio.run(self.door.rewind(name, step))

    def post(self, body: Any, name: tuple[str, str, str] = NAME, *, client: str = "") -> bool:
        """Whether the client is told to stop."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(self.door.take(name, read_post(raw), client))

    def lines(self, offset: int, *lines: Any, **more: Any) -> dict[str, Any]:
        content = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        return {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}, **more}

    def sessions(self) -> list[tuple[str, str, str]]:
        """Whose sessions are kept."""
        with self.stand.stores.catalog.engine.begin() as connection:
            rows = connection.execute(select(WANDB_SESSIONS)).all()
        return [(row.entity, row.project, row.run_id) for row in rows]

    def values(self, run: str = "run") -> list[tuple[int, Any]]:
        return [(row["step"], row["values"]) for row in self.stand.rows(run)]

    def run(self, run: str = "run") -> dict[str, Any]:
        return self.stand.run(run)


def line(step: int, *, at: float | None = None, **values: Any) -> dict[str, Any]:
    return {
        "_step": step,
        "_timestamp": 100.0 + step if at is None else at,
        "_runtime": 1,
        **values,
    }


def summary(**values: Any) -> dict[str, Any]:
    return {"files": {"wandb-summary.json": {"offset": 0, "content": [json.dumps(values)]}}}


DONE = {"complete": True, "exitcode": 0}
