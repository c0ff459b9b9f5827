"""What the upstream finds odd about runs that were sent, such as a fork whose parent is not there.

It is asked once they are, through the daemon that sent them. Nothing of a sync rests on it: where
it cannot be asked, nothing is told.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kelt.errors import KeltError
from kelt.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from kelt.syncing.outcome import SyncedRun

#: Of a sync, and in all; of more runs their pages alone tell.
_RUNS_MAX = 200
_ASKING_S = 10.0


def problems_of(runs: Sequence[SyncedRun], settings: Settings) -> dict[Path, list[str]]:
    """Sentences about the runs that the settings' upstream has, by their folders."""
    from kelt.launcher import ensure_daemon  # noqa: PLC0415 # starts processes
    from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

    upstream = settings.upstream.rstrip("/")
    asked = [run for run in runs if run.is_synced and run.upstream == upstream][:_RUNS_MAX]
    found: dict[Path, list[str]] = {}
    if not asked:
        return found
    with contextlib.suppress(KeltError):
        place = ensure_daemon(settings)
        with SidecarClient(socket=place.socket) as client:
            client.hello(
                upstream=upstream, api_key=settings.api_key, ca_file=settings.ca_file,
                proxy=settings.proxy,
            )  # fmt: skip
            deadline = time.monotonic() + _ASKING_S
            for run in asked:
                reply = client.describe_run(
                    upstream=upstream, entity=run.entity, project=run.project, run_id=run.run_id,
                    timeout_s=max(0.05, deadline - time.monotonic()),
                )  # fmt: skip
                if reply.problems:
                    found[run.path] = list(reply.problems)
    return found
