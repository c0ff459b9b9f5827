"""Checks of this host: Python, the state folder, the kernel and the configuration."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kelt.cli.wording import size
from kelt.config_file import config_file_path
from kelt.errors import SettingsError
from kelt.mounts import filesystem_of, is_network_type
from kelt.settings import load_settings
from kelt.state_dir import StateDir, default_state_dir
from kelt.version import __version__

GIB = 1024**3
#: Below, there is hardly room for an outage; below a tenth of it, none.
SPACE_BYTES_WANTED = GIB
_VOLATILE_FILESYSTEMS = frozenset({"tmpfs", "ramfs"})
#: PIDFD_GET_INFO (Linux 6.13): _IOWR(0xFF, 11, 64 bytes).
_PIDFD_GET_INFO = 0xC040FF0B
#: The first kernel that tells through a pidfd how a process that is no child of ours ended.
_KERNEL_WITH_EXIT_INFO = (6, 15)

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it stands, and the finding with its remedy."""

    name: str
    level: Level
    text: str


def check_host(upstream: str | None, environ: Mapping[str, str]) -> Iterator[Check]:
    """The checks that need nobody else."""
    yield check_python(sys.version_info[:3])
    yield check_config(upstream, environ)
    state_dir = _state_dir(upstream, environ)
    yield check_state_dir(state_dir)
    yield check_space(state_dir.root)
    yield check_filesystem(filesystem_of(state_dir.root), state_dir.root)
    yield check_kernel(os.uname().release, has_pidfd_info=has_pidfd_info())


def _state_dir(upstream: str | None, environ: Mapping[str, str]) -> StateDir:
    try:
        return load_settings({"upstream": upstream}, environ).state_dir
    except SettingsError:
        return default_state_dir(environ)


def check_python(version: tuple[int, int, int]) -> Check:
    """Whether this Python is one that kelt supports."""
    text = f"{'.'.join(map(str, version))} at {sys.executable}; kelt {__version__}"
    if version < (3, 10):
        return Check("python", "fail", f"{text}. kelt needs 3.10 or later.")
    return Check("python", "ok", text)


def check_config(upstream: str | None, environ: Mapping[str, str]) -> Check:
    """Whether the settings can be read, and the config file keeps its secret."""
    path = config_file_path(environ)
    try:
        load_settings({"upstream": upstream}, environ)
    except SettingsError as error:
        return Check("config", "fail", str(error))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return Check("config", "ok", f"no file at {path}; environment and defaults hold")
    if mode & 0o022:
        return Check("config", "warn", f"others can change {path}. Run: chmod go-w {path}")
    return Check("config", "ok", f"{path}")


def check_state_dir(state_dir: StateDir) -> Check:
    """Whether the state folder, or the place where it will be made, is ours and can be written."""
    root = state_dir.root
    if (hindrance := _hindrance(root)) is not None:
        remedy = "Point KELT_DIR at a folder of your own that can be written."
        return Check("state folder", "fail", f"{hindrance}. {remedy}")
    if not root.exists():
        return Check("state folder", "ok", f"{root} will be made by the first run")
    if stat.S_IMODE(root.stat().st_mode) & 0o077:
        return Check("state folder", "warn", f"others can look into {root}. Run: chmod 700 {root}")
    return Check("state folder", "ok", f"{root}")


def _hindrance(root: Path) -> str | None:
    found = nearest_existing(root)
    if not found.is_dir():
        return f"{found} is no folder"
    if found == root and root.stat().st_uid != os.getuid():
        return f"{root} belongs to user {root.stat().st_uid}"
    try:
        with tempfile.TemporaryFile(dir=found):
            return None
    except OSError as error:
        return f"{found} cannot be written ({error.strerror or error})"


def check_space(path: Path) -> Check:
    """Whether there is room for what an outage makes wait."""
    usage = shutil.disk_usage(nearest_existing(path))
    text = f"{size(usage.free)} free of {size(usage.total)}"
    if usage.free < SPACE_BYTES_WANTED:
        level: Level = "fail" if usage.free < SPACE_BYTES_WANTED // 10 else "warn"
        return Check("space", level, f"{text}. Free some, or point KELT_DIR at a larger disk.")
    return Check("space", "ok", text)


def check_filesystem(kind: str, path: Path) -> Check:
    """Whether the state folder lies on a disk of this host."""
    if is_network_type(kind):
        return Check(
            "filesystem",
            "warn",
            f"{path} lies on {kind}. Point KELT_DIR at a disk of this host, "
            "and use kelt.init(dir=...) for run folders that others should see.",
        )
    if kind in _VOLATILE_FILESYSTEMS:
        return Check(
            "filesystem",
            "warn",
            f"{path} lies on {kind}: what is not yet upstream is gone after a reboot. "
            "Point KELT_DIR at a disk.",
        )
    return Check("filesystem", "ok", kind or "of a kind that this system does not tell")


def check_kernel(release: str, *, has_pidfd_info: bool) -> Check:
    """Whether the kernel can tell how a trainer died."""
    if not hasattr(os, "pidfd_open"):
        return Check(
            "kernel", "warn", f"{release}: no pidfd; ends of trainers are seen by their lock alone"
        )
    if has_pidfd_info and kernel_version(release) >= _KERNEL_WITH_EXIT_INFO:
        return Check("kernel", "ok", f"{release}: tells by which signal a trainer died")
    wanted = ".".join(map(str, _KERNEL_WITH_EXIT_INFO))
    return Check(
        "kernel",
        "warn",
        f"{release}: crashes are noticed, but not which signal ended them (Linux {wanted} tells)",
    )


def kernel_version(release: str) -> tuple[int, int]:
    """Major and minor of a kernel's release; zeros where it names none."""
    parts = release.replace("-", ".").split(".")
    numbers = [int(part) if part.isdigit() else 0 for part in [*parts, "0", "0"][:2]]
    return numbers[0], numbers[1]


def has_pidfd_info() -> bool:
    """Whether the kernel answers PIDFD_GET_INFO."""
    try:
        fd = os.pidfd_open(os.getpid())
    except (AttributeError, OSError):
        return False
    try:
        fcntl.ioctl(fd, _PIDFD_GET_INFO, bytearray(64))
    except OSError as error:
        return error.errno not in {errno.ENOTTY, errno.EINVAL, errno.ENOSYS}
    finally:
        os.close(fd)
    return True


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.parents) if p.exists())
