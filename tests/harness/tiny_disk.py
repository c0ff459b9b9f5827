"""A filesystem of a few megabytes, mounted for one test."""

import contextlib
import os
import subprocess

import pytest


@contextlib.contextmanager
def tiny_disk(folder, *, size="4m"):
    """Mounts a filesystem in memory at `folder`; skips the test where that is refused."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "kelt-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a filesystem cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, options):
    """Changes a mounted filesystem, such as `size=64m` or `ro`."""
    command = ["mount", "-o", f"remount,{options}", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def fill(folder):
    """Takes all the room there is."""
    with (folder / "filler").open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert os.statvfs(folder).f_bavail == 0
