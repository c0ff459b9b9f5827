"""What the daemon asks of filesystems that cannot do all of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from kelt.state_dir import StateDir
from kelt_daemon import instance
from kelt_daemon.errors import AlreadyRunningError
from kelt_daemon.filesystem import RealFilesystem


def test_a_folder_that_cannot_be_synced_by_itself_is_as_durable_as_it_gets() -> None:
    with pytest.raises(OSError, match="Invalid argument") as refused:
        _sync(Path("/proc"))
    assert refused.value.errno == errno.EINVAL
    RealFilesystem().sync_folder(Path("/proc"))


def test_a_folder_that_is_not_there_is_an_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        RealFilesystem().sync_folder(tmp_path / "gone")


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("is_here", "said"), [(True, "`kelt daemon stop`"), (False, "another machine")]
)
def test_who_serves_a_state_folder_is_said_also_over_a_network_filesystem(
    tmp_path, is_here, said
) -> None:
    state_dir = StateDir(tmp_path / "state")
    state_dir.create()
    with instance.only_instance(state_dir):
        instance.write_record(state_dir, started_at=1.0)
        if not is_here:
            record = json.loads(state_dir.daemon_record.read_text())
            state_dir.daemon_record.write_text(json.dumps(record | {"boot_id": "another"}))
        with pytest.raises(AlreadyRunningError, match=said), instance.only_instance(state_dir):
            pass
