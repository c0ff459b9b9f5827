"""Where the daemon keeps its own files for run folders that are copies.

A folder that its writer made on this machine holds the daemon's journal too. A copy of one, from
another machine or another place, may be copied over again by whoever made it, and the original may
have a daemon of its own that writes into it over a shared disk: so nothing is ever written into a
copy. Its journal, cursors and witness lie in `KELT_DIR/replays/<digest of its path>/`, beside
`source`, a file with that path. All of it can be made again from the copy, and goes with it.

`sent-to` names the upstream of a folder that `kelt sync --upstream` sent elsewhere than its
`run.json` says. The cursors beside it are then that upstream's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from kelt.replays import DESTINATION_NAME

_SOURCE_NAME = "source"


def make_home(home: Path, source: Path) -> None:
    """Makes the daemon's folder for a copy.

    Raises:
        OSError: it cannot be made.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / _SOURCE_NAME).write_bytes(os.fsencode(source))


def write_destination(home: Path, url: str) -> None:
    """Remembers where a folder was sent.

    Raises:
        OSError: it cannot be written.
    """
    partial = home / f".{DESTINATION_NAME}"
    partial.write_text(url + "\n", encoding="utf-8")
    partial.replace(home / DESTINATION_NAME)


def sweep(replays: Path) -> None:
    """Deletes what belongs to copies that are gone."""
    with contextlib.suppress(OSError):
        for home in replays.iterdir():
            with contextlib.suppress(OSError):
                if not Path(os.fsdecode((home / _SOURCE_NAME).read_bytes())).exists():
                    shutil.rmtree(home, ignore_errors=True)
