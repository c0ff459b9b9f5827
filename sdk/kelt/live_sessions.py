"""Who on this host is writing a branch at this moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kelt.run_folder import RunFolderError, is_locked, read_manifest
from kelt.spool_place import spool_place_of

if TYPE_CHECKING:
    from kelt.local_runs import BranchRecord, LocalRuns


def writer_now(local: LocalRuns, branch: BranchRecord) -> str:
    """The process that has a branch open, for people; empty where there is none."""
    for session in reversed(branch.sessions):
        folder = local.folder(session)
        try:
            if session.last_step is None and is_locked(spool_place_of(folder)):
                manifest = read_manifest(folder)
                if manifest.pid == os.getpid():
                    return "this process"
                return f"process {manifest.pid} on {manifest.hostname}"
        except (RunFolderError, OSError):
            continue
    return ""
