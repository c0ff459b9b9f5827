"""What the daemon's parts take from the machine beneath them, as arguments.

The composition root passes `this_host()`. A simulation passes a time of day that jumps, chance
from a seed, and work that blocks a virtual clock only by its own sleeping. Times that are measured
rather than told are `anyio.current_time()`, which is the loop's own, and so virtual where that is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import anyio.to_thread

from kelt.run_folder import RunManifest, boot_id, machine_id
from kelt_daemon.liveness import ExitStatus, Process
from kelt_daemon.probe import ProcessProbe, is_lock_free

T = TypeVar("T")


class Probe(Protocol):
    """Looks at the process that a manifest names; see `ProcessProbe`."""

    def look(self) -> Process:
        """Whether the process lives."""

    async def wait_gone(self) -> None:
        """Until the process ended; for ever where that cannot be waited for."""

    async def exit_status(self) -> ExitStatus | None:
        """How it ended, where the kernel tells it."""

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed for lack of memory near the process since we look at it."""

    def close(self) -> None:
        """Lets the process go."""


class InThread(Protocol):
    """Does work that blocks, away from the event loop."""

    async def __call__(self, work: Callable[..., T], /, *args: object) -> T:
        """What `work(*args)` returns or raises."""


async def in_thread(work: Callable[..., T], /, *args: object) -> T:
    """Does it in a worker thread."""
    return await anyio.to_thread.run_sync(work, *args)


def process_probe(manifest: RunManifest, folder: Path) -> Probe:
    """Asks this machine's kernel."""
    return ProcessProbe(manifest=manifest, folder=folder)


@dataclass(frozen=True, kw_only=True)
class Host:
    """One machine, and how to ask it.

    Attributes:
        machine_id: tells it from other machines.
        boot_id: tells this boot of it from others.
        now: the time of day, Unix seconds, which may jump either way.
        chance: evenly distributed in [0, 1).
        in_thread: does work that blocks.
        probe: looks at the process of a run folder's writer.
        is_lock_free: whether a writer that once held a folder's lock has given it back.
    """

    machine_id: str
    boot_id: str
    now: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    in_thread: InThread = in_thread
    probe: Callable[[RunManifest, Path], Probe] = process_probe
    is_lock_free: Callable[[Path], bool] = is_lock_free


def this_host() -> Host:
    """The machine that this process runs on."""
    return Host(machine_id=machine_id(), boot_id=boot_id())
