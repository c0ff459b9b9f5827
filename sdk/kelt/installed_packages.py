"""`requirements.txt` in a run folder: the packages that its process could import.

W&B servers are sent it with the run, as W&B's client makes it: a `name==version` a line. They are
read from the names of folders: what is in those would take tenths of a second at each start. So a
name is spelled as folders spell it, with `_` for `-`, which pip takes for the same.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from kelt.journal.files import open_regular
from kelt.private_files import replace_private
from kelt.wandb_upstream import is_wandb

REQUIREMENTS_NAME = "requirements.txt"
_SUFFIX = ".dist-info"
_BYTES_MAX = 1024 * 1024


def installed_packages(places: Iterable[str]) -> list[str]:
    """The packages in some folders, by name; of one that is in several, the first counts."""
    found: dict[str, str] = {}
    for place in places:
        with contextlib.suppress(OSError):
            for path in Path(place).iterdir():
                name, _, version = path.stem.partition("-")
                if path.suffix == _SUFFIX and version:
                    found.setdefault(name.lower(), f"{name}=={version}")
    return [found[name] for name in sorted(found)]


def write_requirements(folder: Path, *, upstream: str) -> None:
    """Notes this process's in the folder of a run that is logged for a W&B server, if it can be."""
    if not is_wandb(upstream):
        return
    text = "".join(f"{line}\n" for line in installed_packages(sys.path))
    with contextlib.suppress(OSError):
        replace_private(folder / REQUIREMENTS_NAME, text.encode(errors="replace"))


def read_requirements(folder: Path) -> str:
    """What was noted, or an empty text."""
    with contextlib.suppress(OSError), open_regular(folder / REQUIREMENTS_NAME) as file:
        return file.read(_BYTES_MAX).decode(errors="replace")
    return ""
