"""Asking the upstream for a run that this host does not know, through the daemon."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from kelt.errors import DaemonError
from kelt.launcher import ensure_daemon
from kelt.local_history import definition_of
from kelt.local_runs import ElsewhereState
from kelt.origins.remote import Describe, RemoteRun
from kelt.settings import Settings

if TYPE_CHECKING:
    from kelt_proto.v1 import upstream_pb2


def asking(settings: Settings) -> Describe:
    """What asks, within `init_timeout_s` in all."""

    def describe(reference: str, step: int | None) -> RemoteRun | None:
        deadline = time.monotonic() + settings.init_timeout_s
        place = ensure_daemon(settings)
        from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

        with SidecarClient(socket=place.socket) as client:
            client.hello(
                upstream=settings.upstream,
                api_key=settings.api_key,
                ca_file=settings.ca_file,
                proxy=settings.proxy,
                timeout_s=_left_s(deadline),
            )
            reply = client.describe_run(
                upstream=settings.upstream,
                entity=settings.entity or "",
                project=settings.project,
                run_id=reference,
                step=step,
                timeout_s=_left_s(deadline),
            )
        return _remote_run(reply, reference) if reply.exists else None

    return describe


def _left_s(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())


def _remote_run(reply: upstream_pb2.DescribeRunReply, reference: str) -> RemoteRun:
    return RemoteRun(
        run_id=reply.run_id or reference,
        branch_id=reply.branch_id,
        name=reply.info.name,
        state=ElsewhereState(
            last_step=reply.last_step,
            runtime=reply.runtime,
            config=_decoded(reply.config_json),
            summary=_decoded(reply.summary_json),
        ),
        definitions=tuple(definition_of(said) for said in reply.definitions),
        live_writers=tuple(
            (writer.writer_id.hex(), f"{writer.label} on {writer.hostname}")
            for writer in reply.live_writers
        ),
    )


def _decoded(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text) if text else {}
    except ValueError as error:
        raise DaemonError(f"The upstream's answer cannot be read ({error}).") from error
    return data if isinstance(data, dict) else {}
