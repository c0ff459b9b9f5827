"""Interpreters that have older versions of wandb, made when they are first wanted.

Each lies in `.venv-wandb/VERSION-PYTHON` beside the source, installed from a list of exact versions
(`clients/wandb-VERSION.txt`). A lock lets one of several test processes make it; it counts once
`installed` in it names the list that it was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

_LISTS = Path(__file__).parent / "clients"
_FOLDER = Path(__file__).parents[2] / ".venv-wandb"
VERSIONS = sorted(path.stem.removeprefix("wandb-") for path in _LISTS.glob("wandb-*.txt"))


def python_with(version: str) -> str:
    """An interpreter with a version of wandb."""
    wanted = _LISTS / f"wandb-{version}.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    folder = _FOLDER / f"{version}-{sys.version_info.major}.{sys.version_info.minor}"
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = folder / "installed"
        if not mark.exists() or mark.read_text() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(folder))
            python = folder / "bin" / "python"
            _uv("pip", "install", "--python", str(python), "--requirement", str(wanted))
            mark.write_text(digest)
    return str(folder / "bin" / "python")


def _uv(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", "--quiet", *arguments], capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
