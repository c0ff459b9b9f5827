"""Contents on their way into an artifact: copied when they are added, kept under their MD5."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
import weakref
from pathlib import Path

from kelt.errors import StorageError
from kelt.run_folder import boot_id, pid_start_ticks
from kelt.state_dir import StateDir

#: Within the state folder.
STAGING_NAME = "staging"
_PIECE_BYTES = 1024 * 1024
#: What copies leave free on the disk, for rows and for the training itself.
_DISK_FREE_BYTES_MIN = 1024**3
#: Of another boot, or of another machine that shares the state folder: swept after so long.
_STRANGE_AGE_S = 3 * 24 * 3600.0


class Staging:
    """The contents of one artifact. Mutable state: its folder, made with the first of them.

    Args:
        state_dir: in which it lies.
    """

    def __init__(self, state_dir: StateDir) -> None:
        self._state_dir = state_dir
        self._folder: Path | None = None

    def add(self, source: Path, *, may_link: bool) -> tuple[str, int]:
        """Takes the content of a file; returns its MD5 (hex) and size.

        Args:
            source: the file.
            may_link: nobody writes into it any more, so it need not be copied.

        Raises:
            StorageError: it cannot be read, or there is no room for a copy.
        """
        staged = self.new_path()
        try:
            if may_link and _is_linked(source, staged):
                md5, size_bytes = _read(staged)
            else:
                _check_room(staged.parent, source.stat().st_size)
                md5, size_bytes = _copy(source, staged)
            staged.replace(self._place() / md5)
        except OSError as error:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
            raise StorageError(
                f"{source} cannot be added to an artifact ({error.strerror or error}); its content "
                f"is kept in {self._state_dir.root / STAGING_NAME}, which KELT_DIR moves."
            ) from error
        return md5, size_bytes

    def path(self, md5: str) -> Path:
        """Where a content lies."""
        return self._place() / md5

    def new_path(self) -> Path:
        """Where a file may be written that is to be added."""
        return self._place() / f".{secrets.token_hex(8)}"

    def _place(self) -> Path:
        if self._folder is None:
            parent = self._state_dir.root / STAGING_NAME
            own = parent / _process_name()
            folder = own / secrets.token_hex(8)
            try:
                self._state_dir.create()
                own.mkdir(mode=0o700, parents=True, exist_ok=True)
                sweep(parent)
                folder.mkdir(mode=0o700)
            except OSError as error:
                raise StorageError(
                    f"{folder} cannot be made ({error.strerror or error}); point KELT_DIR at a "
                    "folder that can be written."
                ) from error
            self._folder = folder
            weakref.finalize(self, _remove, folder, os.getpid())
        return self._folder


def link_or_copy(source: Path, target: Path) -> None:
    """The same content in another place, which nobody changes.

    Raises:
        OSError: it cannot be put there.
    """
    if not _is_linked(source, target):
        shutil.copyfile(source, target)


def sweep(parent: Path) -> None:
    """Removes what processes left that are gone."""
    own_boot = boot_id()
    with contextlib.suppress(OSError):
        for folder in parent.iterdir():
            boot, _, process = folder.name.rpartition("_")
            pid, _, ticks = process.partition("-")
            try:
                if boot == own_boot:
                    is_left = pid_start_ticks(int(pid)) != int(ticks)
                else:
                    is_left = time.time() - folder.stat().st_mtime > _STRANGE_AGE_S
            except (OSError, ValueError):
                continue
            if is_left:
                shutil.rmtree(folder, ignore_errors=True)


def _check_room(folder: Path, size_bytes: int) -> None:
    if shutil.disk_usage(folder).free - size_bytes < _DISK_FREE_BYTES_MIN:
        raise OSError(errno.ENOSPC, "its copy would leave less than 1 GiB of the disk free")


def _process_name() -> str:
    return f"{boot_id()}_{os.getpid()}-{pid_start_ticks(os.getpid())}"


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child leaves its parent's alone
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def _is_linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:  # another filesystem, or one without links
        return False
    return True


def _copy(source: Path, target: Path) -> tuple[str, int]:
    """In one pass, so that the digest is that of the copy, whoever writes into the source."""
    hasher, size_bytes = hashlib.md5(usedforsecurity=False), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with source.open("rb") as file, os.fdopen(os.open(target, flags, 0o600), "wb") as copy:
        while piece := file.read(_PIECE_BYTES):
            hasher.update(piece)
            copy.write(piece)
            size_bytes += len(piece)
    return hasher.hexdigest(), size_bytes


def _read(path: Path) -> tuple[str, int]:
    hasher, size_bytes = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            hasher.update(piece)
            size_bytes += len(piece)
    return hasher.hexdigest(), size_bytes


def md5_of(path: Path) -> tuple[str, int]:
    """The MD5 (hex) and the size of a file that stays where it is.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return _read(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}).") from error
