"""A run folder's manifest and lock: what is known of a session without reading its records."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from kelt.checked_json import decode_checked, encode_checked
from kelt.journal.files import open_regular
from kelt.private_files import replace_private
from kelt.wandb_upstream import has_scheme
from kelt_proto.v1.frames import WRITER_ID_BYTES

MANIFEST_NAME = "run.json"
LOCK_NAME = "lock"
#: In a folder that an importer makes: all is there, and while this is, nothing is added.
WHOLE_NAME = "whole"
FORMAT = 1
#: Texts that earlier versions did not write.
_ADDED = ("folder", "label", "spool_folder")
_MANIFEST_BYTES_MAX = 1024 * 1024
#: How filesystems say that they have no locks, or no server for them.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
_TEXT_END = 8192
_NUMBER_END = 2**62
_PID_END = 2**31


class RunFolderError(ValueError):
    """A folder that is not a run folder, or one of a format that this version does not know."""


@dataclass(frozen=True, kw_only=True)
class RunManifest:
    """`run.json`: written once, complete, before the first record."""

    writer_id: str
    entity: str
    project: str
    run_id: str
    branch_id: str
    mode: str
    upstream: str
    started_at: float
    hostname: str
    machine_id: str
    boot_id: str
    pid: int
    pid_start_ticks: int
    #: Where the folder was made, links resolved: tells it from its copies on the same machine.
    folder: str = ""
    #: Of a shared run's writer.
    label: str = ""
    #: Where its spool lies on its machine if not here (`kelt.spool_place`).
    spool_folder: str = ""
    format: int = FORMAT


def folder_name(run_id: str, writer_id: bytes, started_at: float, mode: str) -> str:
    """The name of a session's folder: sortable by time, and unique by its writer."""
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(started_at))
    prefix = "offline-run" if mode == "offline" else "run"
    return f"{prefix}-{stamp}-{run_id}-{writer_id.hex()[:8]}"


def write_manifest(folder: Path, manifest: RunManifest) -> None:
    """Writes `run.json` so that it is there whole or not at all, and with its place."""
    manifest = replace(manifest, folder=os.fsdecode(folder.resolve()))
    replace_private(folder / MANIFEST_NAME, encode_checked(asdict(manifest)))


def _is_sound(manifest: RunManifest) -> bool:
    """Whether each value is of its kind and within reason, so that a message can carry it."""
    for name, value in vars(manifest).items():
        if name in {"folder", "spool_folder"}:  # compared, and never told: a path need not be text
            is_fit = isinstance(value, str)
        elif name in {"pid", "pid_start_ticks", "format"}:
            is_fit = type(value) is int and 0 <= value < _NUMBER_END
        elif name == "started_at":
            is_fit = type(value) in {int, float} and abs(value) < _NUMBER_END
        else:
            is_fit = isinstance(value, str) and value.isprintable() and len(value) < _TEXT_END
        if not is_fit:
            return False
    try:
        is_writer = len(bytes.fromhex(manifest.writer_id)) == WRITER_ID_BYTES
    except ValueError:
        return False
    return is_writer and has_scheme(manifest.upstream) and manifest.pid < _PID_END


def read_manifest(folder: Path, *, name: str = MANIFEST_NAME) -> RunManifest:
    """The manifest of a run folder.

    Args:
        folder: the run folder.
        name: of a copy of it there.

    Raises:
        RunFolderError: there is none, it cannot be read, or holds what is no value of its kind.
    """
    path = folder / name
    try:
        with open_regular(path) as file:
            data = decode_checked(file.read(_MANIFEST_BYTES_MAX), is_required=False)
    except FileNotFoundError:
        raise RunFolderError(f"{folder} holds no {name}: not a run folder") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    if data.get("format") != FORMAT:
        raise RunFolderError(f"{path} has a format that this version of kelt does not know")
    try:
        known = {f.name: data[f.name] for f in fields(RunManifest) if f.name not in _ADDED}
        known |= {name: str(data.get(name, "")) for name in _ADDED}
        manifest = RunManifest(**known)
    except KeyError as error:
        raise RunFolderError(f"{path} lacks {error}") from error
    if not _is_sound(manifest):
        raise RunFolderError(f"{path} holds values of the wrong kind")
    return manifest


def is_original(folder: Path, manifest: RunManifest) -> bool:
    """Whether a folder is no copy: it lies where it was made, as far as its manifest says."""
    return manifest.folder in {"", os.fsdecode(folder.resolve())}


def take_lock(folder: Path) -> int:
    """Locks a run folder for the life of its writer; returns the descriptor to keep open.

    A filesystem that knows no locks is no reason not to run: whether the writer lives is then
    told by its process alone.
    """
    fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(fd)
            raise
    return fd


def is_locked(folder: Path) -> bool:
    """Whether some process on this host holds the folder's lock.

    Raises:
        OSError: that cannot be known.
    """
    try:
        fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def machine_id() -> str:
    """What tells this machine from others; the host name where the system has no id."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            if found := Path(path).read_text(encoding="ascii").strip():
                return found
    return os.uname().nodename


def boot_id() -> str:
    """What tells this boot of the machine from others, or nothing where the system does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def pid_start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the pid, its identity.

    Returns:
        0 where there is no such process, or no /proc.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])
