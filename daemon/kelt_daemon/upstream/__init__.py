"""What the daemon needs of an upstream, whatever speaks behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kelt_daemon.batch import Outgoing
from kelt_proto.v1.upstream_pb2 import (
    DescribeRunReply,
    DescribeRunRequest,
    LogArtifactRequest,
)


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """Who answered. Cursors kept for another `server_id` are void.

    `push_interval_s` is how often a run that goes on is sent; None: as the daemon is configured.
    """

    server_id: str
    version: str
    default_entity: str
    push_bytes_max: int
    push_interval_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Access:
    """What an upstream is approached with. Kept in memory only.

    Attributes:
        api_key: or an empty text.
        ca_file: authorities that are trusted beside the system's; read anew for each connection.
        proxy: the way there, as the setting `proxy` says it; empty: as the environment does.
    """

    api_key: str = field(default="", repr=False)
    ca_file: Path | None = None
    proxy: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PushedCursor:
    """How far a writer is committed; `gap` asks to go back to there."""

    committed_through: int
    gap: bool


@dataclass(frozen=True, kw_only=True)
class OutgoingArtifact:
    """An artifact on its way.

    Attributes:
        said: what was said of it, by whom and in which run.
        place: its folder, with its contents (`kelt.artifacts`).
        notes: a folder in which an upstream may keep how far it is; not there as a rule.
    """

    said: LogArtifactRequest
    place: Path
    notes: Path


class ArtifactUpstream(Protocol):
    """The part of an upstream that takes artifacts."""

    async def log_artifact(self, artifact: OutgoingArtifact) -> str:
        """Brings an artifact there; returns the version that it became.

        May be called again after any error, and goes on where that one was.

        Raises:
            UpstreamError: it is not there; for good by `RejectedDataError` and `RunGoneError`.
            OSError: a content cannot be read.
        """


class Upstream(Protocol):
    """A connection to one server.

    Every call has a deadline and raises `UpstreamError`s only. A call is answered after commit.
    """

    @property
    def artifacts(self) -> ArtifactUpstream:
        """Takes artifacts."""

    async def connect(self, access: Access) -> ServerInfo:
        """Makes the connection anew."""

    async def push(self, batches: Sequence[Outgoing]) -> Mapping[bytes, PushedCursor]:
        """Sends batches, all of which have frames; records that the server has are skipped."""

    async def cursors(self, writer_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """How far writers are committed; one that is not known is at 0."""

    async def heartbeat(self, beats: Sequence[tuple[bytes, bool]]) -> Collection[bytes]:
        """Says which writers live, and whether they are stalled; hears whose are to stop."""

    async def describe_run(
        self, request: DescribeRunRequest, *, deadline_s: float
    ) -> DescribeRunReply:
        """What the server knows of a run."""

    async def wait_lost(self) -> None:
        """Until the connection broke, or who answers may have become another."""

    async def aclose(self) -> None:
        """Ends the connection."""
