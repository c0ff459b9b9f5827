"""Looking for run folders, and whether old ones have grown. Blocking; for worker threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from kelt.run_folder import MANIFEST_NAME
from kelt_daemon.cursors import spool_signature
from kelt_daemon.errors import sentence_of
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.spool_import import has_spool

#: Names, sizes and times of a folder's segments.
Signature = tuple[tuple[str, int, int], ...]


def find_run_folders(runs: Path) -> tuple[list[Path], dict[Path, str]]:
    """The run folders, in the order of their names: sessions in the order of time.

    Returns:
        The folders, links resolved, and what cannot be looked at, with the reason.

    Raises:
        OSError: the folder of run folders cannot be read.
    """
    found: list[Path] = []
    problems: dict[Path, str] = {}
    # Often, with perhaps thousands there: only links are looked up, step by step.
    place = runs.resolve()
    with os.scandir(runs) as entries:
        links = {entry.name: entry.is_symlink() for entry in entries}
    for name in sorted(links):
        path = runs / name
        try:
            if (path / MANIFEST_NAME).exists():
                found.append(path.resolve() if links[name] else place / name)
        except OSError as error:
            problems[path] = sentence_of(error, path)
    return found, problems


def gone(paths: Iterable[Path]) -> list[Path]:
    """Those that were removed."""
    return [path for path in paths if not os.path.lexists(path)]


def link_into(runs: Path, folder: Path) -> None:
    """A folder that lies elsewhere is found again, after a restart, by a link.

    Raises:
        OSError: it cannot be made.
    """
    if folder.parent == runs.resolve():
        return
    for path in runs.iterdir():
        if path.is_symlink() and path.resolve() == folder:
            return
    name, number = folder.name, 1
    while os.path.lexists(runs / name):
        number += 1
        name = f"{folder.name}-{number}"
    (runs / name).symlink_to(folder)


def signature_of(path: Path) -> Signature:
    """As it is now; as of an empty folder where that cannot be told: it is looked at again."""
    with contextlib.suppress(OSError):
        return spool_signature(path)
    return ()


def signature_if_done(folder: RunFolder) -> Signature | None:
    """As it is now, of a folder that was just read and in which nothing is left to do.

    Whether its upstream still has what it said is asked for all folders together (`recheck`).
    """
    is_left = folder.is_held or folder.is_damaged or folder.lost_tail or not folder.is_committed
    if is_left or not (folder.is_on_this_machine and folder.life.phase.is_ended):
        return None
    return None if has_spool(folder.spool_path) else signature_of(folder.path)


def grown(
    folders: Iterable[tuple[RunFolder, Signature]], now_s: float, *, missing_settle_s: float
) -> list[RunFolder]:
    """Folders in which there is something to read again.

    Args:
        folders: with what each was when it was left.
        now_s: by the monotonic clock.
        missing_settle_s: how long what a copy lacks is waited for.
    """
    found = []
    for folder, before in folders:
        with contextlib.suppress(OSError):  # perhaps the next time
            if folder.is_on_this_machine and not has_spool(folder.path):
                continue
            is_more = spool_signature(folder.path) != before
            if folder.incomplete and not folder.is_on_this_machine:
                is_more = is_more or now_s - folder.quiet_since_s >= missing_settle_s
            if is_more:
                found.append(folder)
    return found
