"""The daemon's reports of a sync, as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kelt.sidecar_client import SidecarClient
    from kelt.syncing.survey import RunOnDisk
    from kelt_proto.v1.sidecar_pb2 import FolderProgress, SyncReply

_TICK_S = 0.25


def replies(
    client: SidecarClient, runs: Sequence[RunOnDisk], *, upstream: str, live: bool
) -> Iterator[SyncReply | None]:
    """The daemon's reports of a sync, and None now and then while there is none.

    Args:
        client: has said hello.
        runs: the folders to be sent.
        upstream: as for `SidecarClient.sync`.
        live: likewise.
    """
    arrived: queue.Queue[SyncReply | Exception | None] = queue.Queue(maxsize=8)
    paths = [run.path for run in runs]

    def read() -> None:
        try:
            for reply in client.sync(paths=paths, retry_now=True, upstream=upstream, live=live):
                arrived.put(reply)
            arrived.put(None)
        except Exception as error:  # noqa: BLE001 # raised again by who reads the queue
            arrived.put(error)

    # gRPC's blocking stream knows no deadline for the next message.
    threading.Thread(target=read, name="kelt-sync", daemon=True).start()
    while True:
        try:
            item = arrived.get(timeout=_TICK_S)
        except queue.Empty:
            yield None
            continue
        if item is None:
            return
        if isinstance(item, Exception):
            raise item
        yield item


def folder_report(folder: FolderProgress) -> dict[str, Any]:
    """What it says of a folder, as `SyncWatch` takes it."""
    return {
        "path": folder.path,
        "entity": folder.entity,
        "project": folder.project,
        "run_id": folder.run_id,
        "upstream": folder.upstream,
        "records": folder.records,
        "committed": folder.committed,
        "skipped": folder.skipped,
        "lost_rows": folder.lost_rows,
        "is_synced": folder.is_synced,
        "error": folder.error,
    }


def upstream_report(reply: SyncReply) -> dict[str, Any]:
    """What it says of the upstream, likewise."""
    from kelt_proto.v1.sidecar_pb2 import UpstreamState  # noqa: PLC0415 # loads protobuf

    state = reply.upstream_state
    name = UpstreamState.State.Name(state.state).lower()
    return {"url": state.url, "state": name, "reason": state.reason}
