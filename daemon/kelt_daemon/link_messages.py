"""A link to an upstream, as processes of this host are told of it."""

from __future__ import annotations

from kelt_daemon.links import UpstreamLink
from kelt_proto.v1 import sidecar_pb2


def upstream_state(link: UpstreamLink) -> sidecar_pb2.UpstreamState:
    """How it stands with an upstream, as a message."""
    report = link.report
    return sidecar_pb2.UpstreamState(
        state=report.state.name,
        reason=report.reason,
        since=report.since,
        url=link.url,
    )
