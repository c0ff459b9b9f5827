"""One writer of a stream: what it is told, and when it has to be told again."""

from __future__ import annotations

import math
from collections.abc import Callable

from kelt_daemon.link_messages import upstream_state
from kelt_daemon.run_folders import RunFolder
from kelt_proto.v1 import sidecar_pb2


class StreamWriter:
    """Mutable state: what was said, and when.

    Args:
        folder: of the writer.
        on_change: told that there may be news.
    """

    def __init__(self, *, folder: RunFolder, on_change: Callable[[StreamWriter], None]) -> None:
        self.folder = folder
        self.cursor = folder.cursor(folder.writer_id)
        self.must_reply = True
        self.is_leaving = False
        self.said: sidecar_pb2.AppendReply | None = None
        self.said_at_s = -math.inf
        self._on_change = on_change
        self._unlisten = folder.changed.listen(self._note)
        self._link = folder.link
        self._unlisten_link = self._link.changed.listen(self._note)

    def _note(self) -> None:
        if self.folder.link is not self._link:  # `kelt sync --upstream` sends it elsewhere
            self._unlisten_link()
            self._link = self.folder.link
            self._unlisten_link = self._link.changed.listen(self._note)
        self._on_change(self)

    def reply(self, linger_s: float) -> sidecar_pb2.AppendReply:
        """How it stands with the writer."""
        return sidecar_pb2.AppendReply(
            writer_id=self.folder.writer_id,
            durable_through=self.cursor.durable,
            committed_through=min(self.cursor.committed, self.cursor.durable),
            linger_s=linger_s,
            upstream_state=upstream_state(self.folder.link),
            must_stop=self.folder.must_stop,
        )

    def due_at_s(self, reply: sidecar_pb2.AppendReply, *, committed_reply_s: float) -> float:
        """When a reply should be written; infinity: it says nothing new.

        What the upstream has committed nobody waits for before the writer's end, so it travels with
        what became durable.
        """
        if self.said is None or self.must_reply:
            return -math.inf
        if reply == self.said:
            return math.inf
        if self.folder.goodbye is not None:
            return -math.inf
        only_committed = sidecar_pb2.AppendReply()
        only_committed.CopyFrom(self.said)
        only_committed.committed_through = reply.committed_through
        return self.said_at_s + committed_reply_s if only_committed == reply else -math.inf

    def close(self) -> None:
        """It has left its stream."""
        self._unlisten()
        self._unlisten_link()
