"""Where kelt keeps its things on this host (the layout: ARCHITECTURE.md, "On disk")."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The kernel's limit for a Unix socket's path is 108 bytes with its final zero.
SOCKET_PATH_BYTES_MAX = 107


class StateDirError(OSError):
    """The state folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class StateDir:
    """The state folder and the paths in it."""

    root: Path

    @property
    def runs(self) -> Path:
        """Run folders, and links to those that lie elsewhere."""
        return self.root / "runs"

    @property
    def branches(self) -> Path:
        """What this host knows of branches."""
        return self.root / "branches"

    @property
    def names(self) -> Path:
        """Which branch each run id points at, as this host knows it."""
        return self.root / "names"

    @property
    def logs(self) -> Path:
        """The daemon's log files."""
        return self.root / "logs"

    @property
    def daemon_lock(self) -> Path:
        """Held by the daemon for life."""
        return self.root / "daemon.lock"

    @property
    def spawn_lock(self) -> Path:
        """Held while a daemon is being started."""
        return self.root / "spawn.lock"

    @property
    def daemon_record(self) -> Path:
        """Who the daemon is."""
        return self.root / "daemon.json"

    @property
    def socket(self) -> Path:
        """The daemon's socket: in a runtime folder of its own where the path would be too long."""
        path = self.root / "daemon.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            return path
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return _runtime_folder() / f"{name}.sock"

    def create(self) -> None:
        """Makes the folders, for this user alone.

        Raises:
            StateDirError: they cannot be made, or the root belongs to somebody else.
        """
        folders = [self.root, self.runs, self.branches, self.names, self.logs, self.socket.parent]
        for folder in folders:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _require_private(folder)
            except OSError as error:
                raise StateDirError(
                    f"kelt cannot keep its data in {folder}: {error.strerror or error}. "
                    "Point KELT_DIR at a folder of your own that can be written."
                ) from error


def default_state_dir(environ: Mapping[str, str]) -> StateDir:
    """The state folder that the environment names: KELT_DIR, or kelt's place among XDG's."""
    if given := environ.get("KELT_DIR"):
        return StateDir(Path(given).expanduser().absolute())
    home = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return StateDir(Path(home).absolute() / "kelt")


def _runtime_folder() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and len(os.fsencode(base)) < SOCKET_PATH_BYTES_MAX - 40:
        return Path(base) / "kelt"
    return Path(tempfile.gettempdir()) / f"kelt-{os.getuid()}"


def _require_private(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.getuid():
        raise StateDirError(f"it belongs to user {status.st_uid}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)
