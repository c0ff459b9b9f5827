"""What kind of filesystem a folder lies on, told by mount tables as kernels write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kelt.mounts import filesystem_type, is_network_type, network_type, read_mounts

TABLE = r"""22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw,nosuid shared:2 - proc proc rw
40 22 0:40 / /home rw,relatime shared:9 master:1 - autofs auto.home rw,fd=5
41 22 0:41 /export/home /home rw,relatime shared:10 - nfs4 nas:/export/home rw,vers=4.2
42 41 254:2 / /home/u/fast rw - xfs /dev/nvme0n1 rw
43 22 0:43 / /mnt/with\040space\134and rw - cifs //nas/x rw
44 22 0:44 / /s3 rw - fuse.s3fs s3fs rw
45 22 0:45 / /scratch rw - lustre mds@tcp:/scratch rw
46 22 0:46 / /over rw - nfs nas:/over rw
47 46 0:47 / /over rw - tmpfs tmpfs rw
nonsense
48 22 0:48 / - ext4
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/homework/x", "ext4"),
        ("/home/u/kelt/runs/r", "nfs4"),  # what is mounted later hides what was there
        ("/home", "nfs4"),
        ("/home/u/fast/kelt", "xfs"),
        ("/home/u/faster", "nfs4"),
        ("/mnt/with space\\and/x", "cifs"),
        ("/s3/runs", "fuse.s3fs"),
        ("/scratch/u", "lustre"),
        ("/over/x", "tmpfs"),
    ],
)
def test_the_longest_mount_point_and_there_the_last_mount_counts(path, kind) -> None:
    assert filesystem_type(Path(path), TABLE) == kind


def test_nothing_is_known_without_a_table() -> None:
    assert filesystem_type(Path("/home/u"), "") == ""
    assert network_type(Path("/home/u"), mounts=lambda: "") == ""


REMOTE = """
    nfs nfs4 cifs smb3 lustre gpfs beegfs ceph glusterfs 9p afs
    fuse.sshfs fuse.ceph-fuse fuse.glusterfs fuse.s3fs fuse.unheard-of
"""
LOCAL = "ext4 xfs btrfs zfs overlay tmpfs f2fs fuseblk fuse.fuse-overlayfs"


def test_what_lies_on_another_machine_is_told_from_what_does_not() -> None:
    assert [kind for kind in REMOTE.split() if not is_network_type(kind)] == []
    assert [kind for kind in ("", *LOCAL.split()) if is_network_type(kind)] == []


def test_a_link_is_followed_to_where_the_folder_lies(tmp_path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    remote.mkdir()
    local.symlink_to(remote)
    table = f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {os.path.realpath(remote)} rw - nfs nas:/ rw\n"
    assert network_type(local / "not" / "yet", mounts=lambda: table) == "nfs"
    assert network_type(tmp_path, mounts=lambda: table) == ""


def test_the_system_is_asked(tmp_path) -> None:
    assert filesystem_type(Path("/proc/self"), read_mounts()) in {"proc", ""}
