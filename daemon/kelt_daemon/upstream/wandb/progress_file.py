"""`wandb-<digest>.json` in a run folder: how far the W&B server of that address has the run.

The digest is the address's, so that a run that is sent elsewhere and back goes on. The file carries
a checksum and is replaced whole and synced, before what it tells counts as committed. Damaged, it
is as if not there: the run is sent again from its first record on, to the same lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from kelt.checked_json import decode_checked, encode_checked
from kelt.private_files import replace_private
from kelt_daemon.upstream.wandb.carried_run import CarriedRun, decode_run, encode_run


def progress_path(home: Path, url: str) -> Path:
    """Where the progress at one server is kept."""
    return home / f"wandb-{hashlib.sha256(url.encode()).hexdigest()[:12]}.json"


def read_progress(path: Path) -> CarriedRun | None:
    """What was kept, or None where there is nothing that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        return decode_run(decode_checked(path.read_bytes()))
    return None


def write_progress(path: Path, run: CarriedRun) -> None:
    """Replaces it, synced.

    Raises:
        OSError: it cannot be written.
    """
    # As it will be read: JSON has texts for keys alone.
    data = json.loads(json.dumps(encode_run(run)))
    replace_private(path, encode_checked(data), is_synced=True)
