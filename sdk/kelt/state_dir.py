"""Where kelt keeps its things on this host (the layout: ARCHITECTURE.md, "On disk").

The folder is the wall around everything local: it is this user's, nobody else may look into it, and
no link on the way to it is in the hands of somebody else. Two spellings of it are one folder.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kelt.mounts import network_type

#: The kernel's limit for a Unix socket's path is 108 bytes with its final zero.
SOCKET_PATH_BYTES_MAX = 107
_PRIVATE = 0o700
_LINKS_MAX = 40


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
        """The daemon's socket: in a runtime folder of its own where the path would be too long.

        There too where the state folder is on a network filesystem, many of which know no sockets.
        It follows from the folder itself and not from its spelling, so that a link to it leads to
        the same daemon.
        """
        root = Path(os.path.realpath(self.root))
        path = root / "daemon.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX and not network_type(root):
            return path
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        return _runtime_folder() / f"{name}.sock"

    @property
    def door(self) -> Path:
        """Where the daemon asks the kernel who calls, and hands out tokens for its socket."""
        return door_of(self.socket)

    def create(self) -> None:
        """Makes the folders, for this user alone.

        Raises:
            StateDirError: they cannot be made, or somebody else could reach into them.
        """
        remedy = "Point KELT_DIR at a folder of your own that can be written."
        for folder in (self.root, self.runs, self.branches, self.names, self.logs):
            make_private(folder, "kelt cannot keep its data in", remedy)
        runtime = self.socket.parent
        if runtime != Path(os.path.realpath(self.root)):
            remedy = "Point XDG_RUNTIME_DIR at a folder of your own, or KELT_DIR at a shorter path."
            make_private(runtime, "kelt cannot have its socket in", remedy)


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
    import tempfile  # noqa: PLC0415 # loads much, and is seldom needed

    return Path(tempfile.gettempdir()) / f"kelt-{os.getuid()}"


def door_of(socket: Path) -> Path:
    """The door beside a daemon's socket; as long a path, because both have the same limit."""
    return socket.with_suffix(".door")


def is_private(folder: Path) -> bool:
    """Whether nobody but this user (and the system's) can reach what lies in a folder."""
    try:
        status = folder.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077


def require_own_links(path: Path) -> None:
    """Refuses a path on which somebody else holds a link and could turn it elsewhere.

    Raises:
        StateDirError: names the link.
    """
    trusted = {0, os.getuid()}
    current, left, links = Path(path.anchor), list(reversed(path.parts[1:])), 0
    while left:
        part = left.pop()
        here = current.parent if part == ".." else current / part
        try:
            status = here.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISLNK(status.st_mode):
            current = here
            continue
        if status.st_uid not in trusted:
            raise StateDirError(f"{here} is a link of user {status.st_uid}, who could change it")
        links += 1
        if links > _LINKS_MAX:
            raise StateDirError(f"{path} leads through too many links")
        target = here.readlink()
        if target.is_absolute():
            current = Path(target.anchor)
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def make_private(folder: Path, what: str, remedy: str) -> None:
    """Makes a folder that is this user's alone, or makes it so.

    Raises:
        StateDirError: that cannot be; it begins with `what` and ends with `remedy`.
    """
    try:
        require_own_links(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid():
            raise StateDirError(f"it belongs to user {status.st_uid}")
        if stat.S_IMODE(status.st_mode) & 0o777 != _PRIVATE:
            folder.chmod(_PRIVATE)
    except OSError as error:
        raise StateDirError(f"{what} {folder}: {error.strerror or error}. {remedy}") from error
