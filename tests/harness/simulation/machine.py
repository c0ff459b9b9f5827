"""Processes of one machine, and what a daemon may find out about them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import trio

from kelt.run_folder import RunManifest
from kelt_daemon.liveness import ExitStatus, Process

MACHINE_ID = "this-machine"


@dataclass(eq=False)
class SimulatedProcess:
    pid: int
    start_ticks: int
    boot_id: str
    #: Whether the daemon sees only the lock, not the process: another namespace.
    is_hidden: bool = False
    status: ExitStatus | None = None
    holds_lock: bool = True
    ended_at_s: float | None = None
    gone: trio.Event = field(default_factory=trio.Event)

    @property
    def is_alive(self) -> bool:
        return self.ended_at_s is None

    def end(self, *, code: int = 0, signal: int = 0) -> None:
        if self.is_alive:
            self.status = ExitStatus(code, signal)
            self.ended_at_s = trio.current_time()
            self.holds_lock = False
            self.gone.set()


class Machine:
    """The kernel's word on processes and locks."""

    def __init__(self) -> None:
        self.boots = 1
        self._pids = itertools.count(100)
        self.processes: dict[int, SimulatedProcess] = {}
        self.locks: dict[Path, SimulatedProcess] = {}

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def start(self, *, is_hidden: bool = False) -> SimulatedProcess:
        pid = next(self._pids)
        process = SimulatedProcess(pid, 1000 + pid, self.boot_id, is_hidden)
        self.processes[pid] = process
        return process

    def reboot(self) -> None:
        for process in self.processes.values():
            process.end(signal=9)
        self.processes.clear()
        self.boots += 1

    def is_locked(self, folder: Path) -> bool:
        process = self.locks.get(folder)
        return process is not None and process.holds_lock

    def is_lock_free(self, folder: Path) -> bool:
        return folder in self.locks and not self.is_locked(folder)

    def probe(self, manifest: RunManifest, folder: Path) -> SimulatedProbe:
        process = self.processes.get(manifest.pid)
        if process is not None and process.start_ticks != manifest.pid_start_ticks:
            process = None
        return SimulatedProbe(self, process, folder)


class SimulatedProbe:
    """As a pidfd does: one opened while the process lives also tells how it ended."""

    def __init__(self, machine: Machine, process: SimulatedProcess | None, folder: Path) -> None:
        self._machine = machine
        self._folder = folder
        is_seen = process is not None and process.is_alive and not process.is_hidden
        self._process = process if is_seen else None

    def look(self) -> Process:
        if self._process is not None:
            return Process.ALIVE if self._process.is_alive else Process.GONE
        return Process.UNKNOWN if self._machine.is_locked(self._folder) else Process.GONE

    async def wait_gone(self) -> None:
        if self._process is None:
            await trio.sleep_forever()
        else:
            await self._process.gone.wait()

    async def exit_status(self) -> ExitStatus | None:
        await trio.lowlevel.checkpoint()
        return self._process.status if self._process is not None else None

    def ran_out_of_memory(self) -> bool:
        return False

    def close(self) -> None:
        self._process = None
