"""Reaches the daemon as a trainer's background thread does, once its standard input closes.

Prints the daemon's pid, its nonce, and whether this process started it.
"""

from __future__ import annotations

import json
import os
import sys
import time

from kelt.errors import DaemonError
from kelt.launcher import RespawnDelay, ensure_daemon
from kelt.settings import load_settings

settings = load_settings({}, os.environ)
print("ready", flush=True)  # noqa: T201
sys.stdin.read()
delay, deadline = RespawnDelay(), time.monotonic() + 60
while True:
    try:
        place = ensure_daemon(settings)
        record = json.loads(settings.state_dir.daemon_record.read_text(encoding="utf-8"))
        break
    except (DaemonError, OSError, ValueError):
        if time.monotonic() > deadline:
            raise
        time.sleep(delay.next_s())
print(record["pid"], record["nonce"], place.started)  # noqa: T201
