"""Where the daemon keeps its own files for run folders that are copies (`kelt_daemon.homes`)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kelt.run_folder import RunManifest, is_original

REPLAYS_NAME = "replays"
DESTINATION_NAME = "sent-to"


def home_of(path: Path, manifest: RunManifest, *, machine_id: str, replays: Path) -> Path:
    """The folder for the daemon's files: the run folder itself where it is no copy."""
    if manifest.machine_id == machine_id and is_original(path, manifest):
        return path
    return replays / hashlib.sha256(os.fsencode(path)).hexdigest()[:24]


def read_destination(home: Path) -> str:
    """The upstream that somebody sent the folder to, whatever its run.json says; empty: none."""
    try:
        return (home / DESTINATION_NAME).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
