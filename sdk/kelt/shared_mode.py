"""`mode="shared"`: who a writer is among those that write one run at the same time.

The primary is, in this order: who says so (`primary=`); rank 0, where RANK or SLURM_PROCID tell the
rank; whoever is not told anything. The last two hold only while no other process of this host is
the run's primary, which a lock in the state folder tells: so a worker that a trainer starts is not
taken for a second trainer.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.errors import BranchPointError, UsageError
from kelt.names import shared_branch_id
from kelt.run_folder import RunFolderError, RunManifest, is_locked, read_manifest
from kelt.settings import Settings
from kelt.spool_place import spool_place_of

if TYPE_CHECKING:
    from kelt.local_runs import BranchRecord, LocalRuns
    from kelt.origins.remote import RemoteRun

_RANK_VARIABLES = ("RANK", "SLURM_PROCID")


@dataclass(frozen=True, kw_only=True)
class SharedWriter:
    """One of several writers of a run.

    Attributes:
        label: tells it from the others, for people.
        is_primary: the run lives while it does.
    """

    label: str
    is_primary: bool

    def forked(self, pid: int) -> SharedWriter:
        """What a forked child of it is."""
        return SharedWriter(label=f"{self.label}.{pid}", is_primary=False)


@dataclass(frozen=True, kw_only=True)
class Primacy:
    """Whether a writer is the primary.

    Attributes:
        hold_fd: the lock that says so on this host; -1 without one.
        warning: what the user should know, or nothing.
    """

    is_primary: bool
    hold_fd: int = -1
    warning: str = ""


def rank_of(environ: Mapping[str, str]) -> int | None:
    """The rank of this process among those of its job."""
    for name in _RANK_VARIABLES:
        value = environ.get(name, "")
        if value.isdecimal():
            return int(value)
    return None


def label_of(settings: Settings, environ: Mapping[str, str]) -> str:
    """As given; else by rank; else by host and process."""
    if settings.label is not None:
        return settings.label
    rank = rank_of(environ)
    return f"{os.uname().nodename}-{os.getpid()}" if rank is None else f"rank_{rank}"


def decide_primary(settings: Settings, environ: Mapping[str, str], hold: Path) -> Primacy:
    """Whether this process is the primary; see the module's description.

    Args:
        settings: what it was told.
        environ: the environment.
        hold: the lock file of the run's primary on this host.
    """
    rank = rank_of(environ)
    is_told = settings.primary is not None
    if settings.primary is False or (not is_told and rank not in {None, 0}):
        return Primacy(is_primary=False)
    try:
        fd = _take(hold)
    except OSError:  # nobody can tell
        return Primacy(is_primary=True)
    if fd >= 0 or not is_told:
        return Primacy(is_primary=fd >= 0, hold_fd=fd)
    return Primacy(
        is_primary=True,
        warning=(
            f"another process of this host is the primary of run {settings.run_id!r} too; the "
            "newest holds the run's state: pass primary=False to the others"
        ),
    )


def let_go(hold_fd: int) -> None:
    """Gives the lock of the primary back; a forked child may hold a copy of it."""
    if hold_fd >= 0:
        fcntl.flock(hold_fd, fcntl.LOCK_UN)
        os.close(hold_fd)


def _take(hold: Path) -> int:
    fd = os.open(hold, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def writer_of(
    settings: Settings, environ: Mapping[str, str]
) -> tuple[SharedWriter | None, Primacy]:
    """Who this process is among the writers of a shared run; None in an ordinary one.

    Raises:
        UsageError: it cannot be one of them.
    """
    if not settings.shared or settings.mode == "disabled":
        return None, Primacy(is_primary=False)
    run_id = required_id(settings)
    branch_id = shared_branch_id(settings.entity or "", settings.project, run_id)
    hold = settings.state_dir.branches / f"{branch_id}.primary"
    primacy = decide_primary(settings, environ, hold)
    label = label_of(settings, environ)
    return SharedWriter(label=label, is_primary=primacy.is_primary), primacy


def required_id(settings: Settings) -> str:
    """The run id, without which nobody could find the others.

    Raises:
        UsageError: there is none, or it was to be new.
    """
    if settings.run_id is None:
        raise UsageError(
            "mode='shared' needs the run id, which all writers must name alike; "
            "pass id=… or set KELT_RUN_ID."
        )
    if settings.resume == "never":
        raise UsageError(
            "mode='shared' joins whoever writes the run already, so resume='never' cannot be; "
            "leave resume out."
        )
    return settings.run_id


def is_shared(branch: BranchRecord, local: LocalRuns) -> bool:
    """Whether shared writers write a branch: its id follows from its name, or some did here."""
    own_id = shared_branch_id(branch.entity, branch.project, branch.run_id)
    return branch.branch_id == own_id or any(writers_here(local, branch))


def writers_here(local: LocalRuns, branch: BranchRecord) -> Iterator[tuple[RunManifest, bool]]:
    """The shared writers of a branch that this host knows, and whether they live."""
    for session in branch.sessions:
        folder = local.folder(session)
        try:
            manifest = read_manifest(folder)
            is_live = session.last_step is None and is_locked(spool_place_of(folder))
        except (RunFolderError, OSError):
            continue
        if manifest.label:
            yield manifest, is_live


def live_writers(
    branch: BranchRecord, local: LocalRuns, remote: RemoteRun | None, *, but: str = ""
) -> list[str]:
    """Who writes a branch at this time, for people; of its own writers this host knows best.

    Args:
        branch: what they write.
        local: what this host knows.
        remote: what the upstream said of the run, if it said something.
        but: a writer id that is passed over.
    """
    here = {m.writer_id: (m.label, is_live) for m, is_live in writers_here(local, branch)}
    found = [f"{label} on this host" for label, is_live in here.values() if is_live]
    if but in here and here[but][1]:
        found.remove(f"{here[but][0]} on this host")
    if remote is not None:
        found += [name for writer_id, name in remote.live_writers if writer_id not in {*here, but}]
    return found


def require_alone(what: str, writer: SharedWriter, others: Sequence[str]) -> None:
    """Lets only a primary that writes alone take the run back.

    Raises:
        BranchPointError: somebody else would be left behind on the archived branch.
    """
    if not writer.is_primary:
        raise BranchPointError(
            f"{what}: only the primary of a shared run rewinds it, and this is {writer.label}; "
            "call it there, once the others have finished."
        )
    if others:
        raise BranchPointError(
            f"{what}: other writers of this run are still live ({', '.join(others)}); "
            "finish them first, and start them again afterwards."
        )
