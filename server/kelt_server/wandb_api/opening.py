"""How sessions begin: announced when a client says so, opened with their first record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.wandb_api import announcing, deciding
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.history_lines import RowLine
from kelt_server.wandb_api.lookups import Lookups
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.sessions import Phase, Session
from kelt_server.wandb_api.upserts import Upsert, definitions, unsaid

_SDK_VERSION = "wandb"


class Opener:
    """Makes sessions of what clients say and of where names stand."""

    def __init__(
        self, *, lookups: Lookups, clock: Callable[[], float], default_entity: str
    ) -> None:
        self._lookups = lookups
        self._clock = clock
        self._default_entity = default_entity

    async def announced(
        self, name: Name, said: Upsert, before: Session | None, client: str
    ) -> tuple[Session, bool]:
        """The session that begins, and whether it is to be opened at once.

        One of a new name is. Not a file's, whose first row says when the run began, nor one of a
        shared run's, whose first post says its label.
        """
        standing, parent, rows = await self._lookups.standing(
            name, said.point, counts_rows=bool(said.storage_id)
        )
        entity = "" if name[0] == self._default_entity else name[0]
        session = announcing.announced(
            name,
            said,
            standing=standing,
            parent_branch_id=parent,
            rows=rows,
            before=before,
            client=client,
            shared_branch_id=announcing.shared_branch_id(entity, *name[1:]),
            now=self._clock(),
        )
        is_new = not standing.branch_id
        if is_new and said.is_of_a_file and said.started_at is None:
            session = replace(session, said={**session.said, "dated_by_row": True})
            return session, False
        return session, is_new and not client

    async def unannounced(self, name: Name, post: Post, client: str) -> Session:
        """A session of which this server knows nothing, for its catalog is a new one."""
        said = replace(unsaid(name), storage_id="unknown")
        session, _ = await self.announced(name, said, None, client)
        return replace(session, lines=post.offset)

    async def opened(
        self, session: Session, builder: BatchBuilder, post: Post | None = None
    ) -> Session:
        """The session with its first records in the builder."""
        if session.phase is Phase.REPEATING or session.origin == facts.RESUMED:
            view = await self._lookups.view(session.branch_id)
            if view is not None:
                session = announcing.knowing_config(session, view.config)
            session = replace(session, origin=facts.RESUMED)
        elif session.said.get("dated_by_row"):
            session = replace(session, started_at=_began(session, post))
        deciding.add_opening(builder, session, _SDK_VERSION)
        if session.said.get("lost"):
            builder.lose("what a damaged file of the server held", rows=session.said["lost"])
        session = deciding.add_config(builder, session, session.said.get("config"), self._clock())
        said: dict[str, Any] = {"m": session.said.get("m")}
        session = deciding.add_definitions(
            builder, session, list(definitions(said, session.last_step))
        )
        return replace(session, phase=Phase.OPEN, said={})


def _began(session: Session, post: Post | None) -> float:
    for line in () if post is None else post.lines:
        if isinstance(line, RowLine) and line.timestamp is not None:
            began = line.timestamp - line.runtime
            if 0 < began < session.started_at:
                return began
    return session.started_at
