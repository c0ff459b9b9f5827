"""Other versions of kelt beside this one, as source folders that go in front on PYTHONPATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The last commit of kelt 0.1.0.
PREVIOUS_COMMIT = "94c7f8c"
_ROOTS = ("sdk", "proto", "daemon", "server")


def import_path(folder: Path) -> str:
    """A PYTHONPATH under which that version is imported."""
    return os.pathsep.join(str(folder / name) for name in _ROOTS)


def planted_path() -> str:
    """A PYTHONPATH with `harness/planted` in front of what it was."""
    planted = str(Path(__file__).with_name("planted"))
    return os.pathsep.join(filter(None, (planted, os.environ.get("PYTHONPATH"))))


def this_code_as(version: str, folder: Path) -> Path:
    """This very code under another version."""
    for name in _ROOTS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "sdk" / "kelt" / "version.py"
    text, count = re.subn(
        r'^__version__ = ".*"$', f'__version__ = "{version}"', path.read_text(), flags=re.MULTILINE
    )
    assert count == 1
    path.write_text(text)
    return folder


def previous_release(folder: Path) -> Path | None:
    """The code of kelt 0.1.0, or None where the clone does not reach back to it."""
    archive = folder.with_suffix(".tar")
    done = subprocess.run(
        ["git", "archive", "-o", str(archive), PREVIOUS_COMMIT, *_ROOTS],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return None
    folder.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    archive.unlink()
    return folder
