"""Whether a folder lies on a network filesystem, by this process's mount table.

There a memory map is no safe place for rows: another node may cut the file short, a server that is
away turns a store into a signal that kills the process, and what one node has mapped another does
not see. What is not known for certain to be local is therefore taken for remote.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

# fmt: off
_NETWORK_TYPES = frozenset([
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "daosfs", "davfs", "fhgfs", "fuse",
    "glusterfs", "gpfs", "lustre", "mmfs", "ncpfs", "nfs", "nfs4", "orangefs", "panfs", "pvfs2",
    "smb3", "smbfs", "vmhgfs", "wekafs",
])
#: Filesystems in user space are remote, but for these.
_LOCAL_FUSE_TYPES = frozenset([
    "fuse.bindfs", "fuse.cryfs", "fuse.encfs", "fuse.ext2fs", "fuse.ext4fuse",
    "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.lxcfs", "fuse.mergerfs", "fuse.ntfs-3g",
    "fuse.overlayfs", "fuse.securefs", "fuse.unionfs-fuse", "fuse.zfs-fuse",
])
# fmt: on
_ESCAPED = re.compile(r"\\([0-7]{3})")


def read_mounts() -> str:
    """The mount table; empty where the system has none."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def filesystem_type(path: Path, mounts: str) -> str:
    """The type of the filesystem that a path without links in it lies on; empty if not known.

    Args:
        path: absolute.
        mounts: as in /proc/self/mountinfo.
    """
    best_depth, found = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if len(fields) < 5 or not kinds[0]:  # noqa: PLR2004 # the mount point is the fifth
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # Of several at one place the last hides the others.
        if len(point.parts) >= best_depth and (point == path or point in path.parents):
            best_depth, found = len(point.parts), kinds[0]
    return found


def is_network_type(filesystem: str) -> bool:
    """Whether files of such a filesystem may lie on another machine."""
    if filesystem.startswith("fuse."):
        return filesystem not in _LOCAL_FUSE_TYPES
    return filesystem in _NETWORK_TYPES


def filesystem_of(path: Path, *, mounts: Callable[[], str] = read_mounts) -> str:
    """The type of the filesystem that a path leads to, whether or not anything is there yet."""
    return filesystem_type(Path(os.path.realpath(path)), mounts())


def network_type(path: Path, *, mounts: Callable[[], str] = read_mounts) -> str:
    """The type of the network filesystem that a folder lies on, or will; empty where it is local.

    Args:
        path: it need not exist yet.
        mounts: the mount table.
    """
    found = filesystem_of(path, mounts=mounts)
    return found if is_network_type(found) else ""
