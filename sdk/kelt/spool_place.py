"""Where a run's spool lies: in its run folder, or apart from it on a disk of this machine.

It lies apart where the run folder is on a network filesystem (`kelt.mounts`), and where the setting
`spool_dir` says so: in `<spool_dir>/kelt-<user id>/<writer id>/`, which is its user's alone. It
holds the segments, the lock, and `run-folder`, which says whose they are; `run.json` names it. The
run folder then gets a copy of the segments, written by `kelt.journal.spool_copy`, for whoever
cannot see this machine's disk. What a killed process left is read here, and from the copy where
this is gone. It is removed once the daemon has everything, or when the run ends with a whole copy.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from kelt.errors import StorageError
from kelt.journal.segments import segment_numbers, segment_path
from kelt.mounts import network_type, read_mounts
from kelt.run_folder import (
    LOCK_NAME,
    RunFolderError,
    RunManifest,
    is_original,
    machine_id,
    read_manifest,
)
from kelt.state_dir import StateDirError, make_private

RUN_FOLDER_NAME = "run-folder"
#: What survives a restart of the machine first, memory last.
DEFAULT_BASES = (Path("/var/tmp"), Path("/tmp"), Path("/dev/shm"))  # noqa: S108 # private below
_REMEDY = "name a folder on a disk of this machine in KELT_SPOOL_DIR."


def make_spool_folder(
    folder: Path,
    writer_id: bytes,
    *,
    spool_dir: Path | None,
    mounts: Callable[[], str] = read_mounts,
    bases: tuple[Path, ...] = DEFAULT_BASES,
) -> Path:
    """The folder for a new run's spool, made if it is another than the run folder.

    Args:
        folder: the run folder, which exists.
        writer_id: whose spool.
        spool_dir: where spools lie, as the user says.
        mounts: the mount table.
        bases: where they may lie as nobody says.

    Raises:
        StorageError: the run folder is no place for it, and there is no other.
    """
    if spool_dir is None and not network_type(folder, mounts=mounts):
        return folder
    reasons = []
    for base in bases if spool_dir is None else (spool_dir,):
        if kind := network_type(base, mounts=mounts):
            reasons.append(f"{base} is on a network filesystem ({kind})")
            continue
        try:
            return _make_in(base, folder, writer_id)
        except (StateDirError, OSError) as error:
            reasons.append(str(error) if isinstance(error, StateDirError) else f"{base}: {error}")
    raise StorageError(f"Rows cannot be kept on this machine ({'; '.join(reasons)}); {_REMEDY}")


def _make_in(base: Path, folder: Path, writer_id: bytes) -> Path:
    users = Path(os.path.realpath(base)) / f"kelt-{os.getuid()}"
    make_private(users, "kelt cannot keep rows in", "It must be yours alone.")
    made = users / writer_id.hex()
    made.mkdir(mode=0o700)
    (made / RUN_FOLDER_NAME).write_bytes(os.fsencode(folder) + b"\n")
    return made


def spool_place(folder: Path, manifest: RunManifest, *, is_here: bool) -> Path:
    """Where a spool is to be read: apart if it is there and nobody else's, or in the run folder.

    Args:
        folder: the run folder.
        manifest: its `run.json`.
        is_here: whether this is the folder itself on the machine where it was made, and no copy.
    """
    apart = Path(manifest.spool_folder or ".")
    if not is_here or not apart.is_absolute() or apart.name != manifest.writer_id:
        return folder
    try:
        status = apart.lstat()
    except (OSError, ValueError):  # a zero byte in what somebody wrote
        return folder
    is_private = status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077
    return apart if stat.S_ISDIR(status.st_mode) and is_private else folder


def spool_place_of(folder: Path) -> Path:
    """As `spool_place`, by the run folder's own word and this machine's."""
    try:
        manifest = read_manifest(folder)
    except RunFolderError:
        return folder
    is_here = manifest.machine_id == machine_id() and is_original(folder, manifest)
    return spool_place(folder, manifest, is_here=is_here)


def remove_spool_folder(place: Path) -> None:
    """Removes a spool that lies apart; of what is not kelt's nothing.

    Raises:
        OSError: it cannot be removed.
    """
    # The last first, so that whoever reads it meanwhile finds no hole.
    for number in reversed(segment_numbers(place, "spool")):
        segment_path(place, "spool", number).unlink(missing_ok=True)
    for name in (RUN_FOLDER_NAME, LOCK_NAME):
        (place / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # such as damaged segments that were set aside
        place.rmdir()
