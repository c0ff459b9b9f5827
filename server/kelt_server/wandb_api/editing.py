"""Changes to a run that nobody need be writing (`run.update()` of `wandb.Api`).

They are the records of a writer of their own that opened the run only to change it: it logs
nothing, is no process, and the run's state is not its own. It is made anew each time, for what is
said again changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.ingest.committer import Committer
from kelt_server.wandb_api import deciding, summaries
from kelt_server.wandb_api.batches import BatchBuilder, json_items
from kelt_server.wandb_api.lookups import Lookups
from kelt_server.wandb_api.upserts import Upsert, info_of


class Editor:
    """Commits changes."""

    def __init__(
        self, *, lookups: Lookups, committer: Committer, clock: Callable[[], float]
    ) -> None:
        self._lookups = lookups
        self._committer = committer
        self._clock = clock

    async def edit(self, name: Name, said: Upsert, by_hand: Mapping[str, Any] | None) -> None:
        """Changes what differs from how the run stands.

        Raises:
            NotFoundError: there is no such run.
            StoreError, BusyError: it is to be said again later.
        """
        view = await self._lookups.held(name)
        writer_id = secrets.token_bytes(16)
        now = self._clock()
        builder = BatchBuilder(writer_id=writer_id, last_seq=0)
        opened = record_pb2.RunOpened(
            entity=name[0], project=name[1], run_id=name[2],
            branch_id=view.line.branch.branch_id, started_at=now, sdk_version="wandb",
            info=info_of(said.texts, said.tags),
        )  # fmt: skip
        opened.resumed.mode = facts.EDIT
        builder.add(Kind.RUN_OPENED, opened)
        if said.config is not None:
            new = summaries.differing(said.config, view.config)
            removed = [key for key in view.config if key not in said.config]
            if new or removed:
                config = record_pb2.Config(items=json_items(new, removed), at=now)
                deciding.add_or_lose(builder, Kind.CONFIG, config, "a config")
        if by_hand is not None:
            values, faults = summaries.values_of(by_hand)
            for fault in faults:
                builder.lose(fault, rows=1)
            new = summaries.differing(values, view.summary)
            if new:
                summary = record_pb2.Summary(items=json_items(new), step=view.last_step)
                deciding.add_or_lose(builder, Kind.SUMMARY, summary, "a summary")
        batch = builder.batch()
        if batch is not None:
            await self._committer.push([batch])
