"""Runs that lie on the disk, as a server would show them: one of their own is asked.

How records of forks, rewinds, sessions and writers become a history is the server's knowledge
alone. So it is started for the time of an export, on loopback and with a key, and `kelt sync` fills
it, with a state folder and a daemon of their own. Run folders are copied first: to a daemon
that finds them in their place, they are its to clear. With a folder come those of the same state
folder that its history needs: other sessions of its branch, and its ancestors.

All of it lies in a hidden folder beside the output, about as large as the runs, and goes with it,
on SIGTERM and SIGKILL too (`clearing`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.api_client import Api
from kelt.errors import KeltError
from kelt.exporting.clearing import SERVER, STATE, cleared_if_killed
from kelt.exporting.placing import PREFIX, ExportError
from kelt.local_runs import LocalRuns
from kelt.run_folder import RunFolderError, read_manifest
from kelt.server_process import ServerProcess
from kelt.state_dir import StateDir
from kelt.syncing.from_python import sync_paths
from kelt.syncing.survey import find_run_folders

if TYPE_CHECKING:
    from kelt.syncing.outcome import SyncedRun

_STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class DiskRuns:
    """What was found.

    Attributes:
        api: reads it, for as long as the server is there.
        names: of the runs that were named, as `[entity/]project/run`.
        failed: what could not be read, and why, a sentence each.
        notes: what was left out of what was read, likewise.
    """

    api: Api
    names: tuple[str, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]


@contextlib.contextmanager
def served(paths: Sequence[Path], output: Path) -> Iterator[DiskRuns]:
    """Shows the runs at some paths, whatever `kelt sync` takes.

    Args:
        paths: files and folders.
        output: a folder beside whose contents there is room.

    Raises:
        ExportError: there is no room.
        KeltError: nothing can be read, or neither server nor daemon can be started.
    """
    try:
        with _scratch_folder(output) as scratch:
            server = ServerProcess(scratch / SERVER, api_key=secrets.token_hex(20))
            try:
                server.folder.mkdir()
                server.start()
                found = _sync(paths, scratch, server)
                with Api(server.url, api_key=server.api_key) as api:
                    yield _found(found, api)
            finally:
                server.stop()
    except OSError as error:
        if isinstance(error, KeltError):
            raise
        raise ExportError(f"{error}; free some disk, or choose another --output.") from error


def _found(runs: Sequence[SyncedRun], api: Api) -> DiskRuns:
    return DiskRuns(
        api=api,
        names=tuple(dict.fromkeys(run.name for run in runs if run.is_synced)),
        failed=tuple(
            f"{run.name}: {run.error or 'it could not be read whole'}"
            for run in runs
            if not run.is_synced
        ),
        notes=tuple(f"{run.name}: {run.note}" for run in runs if run.note),
    )


@contextlib.contextmanager
def _scratch_folder(output: Path) -> Iterator[Path]:
    """A hidden one beside the output, which goes with what runs in it, however this ends."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=PREFIX, dir=output)).resolve()
    except OSError as error:
        raise ExportError(f"{output} cannot be written ({error.strerror or error}).") from error
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with cleared_if_killed(scratch):
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: object) -> None:
    """So that nothing is left behind."""
    sys.exit(128 + number)


def _sync(paths: Sequence[Path], scratch: Path, server: ServerProcess) -> list[SyncedRun]:
    """Fills the server; returns what came of the runs that were named."""
    folders = {folder: None for path in paths for folder in find_run_folders(path)}
    needed = {folder: None for named in folders for folder in history_folders(named)}
    copies: dict[Path, Path] = {}
    for number, folder in enumerate(folders | needed):
        copies[folder] = scratch / "copies" / str(number) / folder.name
        shutil.copytree(folder, copies[folder], ignore=shutil.ignore_patterns("lock"))
    others = [path for path in paths if not find_run_folders(path)]
    environ = {
        "KELT_DIR": str(scratch / STATE),
        "KELT_UPSTREAM": server.url,
        "KELT_API_KEY": server.api_key,
        "KELT_CONFIG": os.devnull,
    }
    try:
        result = sync_paths(
            [*copies.values(), *others],
            upstream=server.url,
            live=False,
            dry_run=False,
            include_synced=None,
            project=None,
            entity=None,
            wait_s=_STOP_TIMEOUT_S,
            environ=environ,
        )
    finally:
        _stop_daemon(environ)
    unnamed = {copies[folder].resolve() for folder in needed if folder not in folders}
    return [run for run in result.runs if run.path.resolve() not in unnamed]


def _stop_daemon(environ: dict[str, str]) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
    subprocess.run(
        [sys.executable, "-m", "kelt.cli.main", "daemon", "stop"],
        env=kept | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_STOP_TIMEOUT_S,
        check=False,
    )


def history_folders(folder: Path) -> list[Path]:
    """The run folders of the same state folder that a history needs, as far as they are there."""
    local = LocalRuns(state_dir=StateDir(folder.parent.parent))
    try:
        waiting = [local.branch(read_manifest(folder).branch_id)]
    except RunFolderError:
        return []
    seen: set[str] = set()
    found: list[Path] = []
    while waiting:
        branch = waiting.pop()
        if branch is None or branch.branch_id in seen:
            continue
        seen.add(branch.branch_id)
        for session in branch.sessions:
            place = local.folder(session)
            found += find_run_folders(place) if place.is_dir() else []
        if branch.parent is not None:
            waiting.append(local.find_point(branch.parent))
    return found
