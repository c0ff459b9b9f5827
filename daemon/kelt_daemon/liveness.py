"""Whether a writer lives: a state machine that is told facts and does no I/O.

A writer is judged only on its own machine, and dead only by proof: its process is gone, or the
machine has booted since. What the writer said itself (its exit record) beats what is observed, so
a death is judged only after its spool has been read. An ended state is final.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from enum import Enum

#: So many probes in a row must see the beat stand still: one may follow a pause of the host.
_STILL_PROBES_MIN = 3


class Phase(Enum):
    """The states of `ARCHITECTURE.md`, and `STALLED`, a note beside running."""

    RUNNING = "running"
    STALLED = "stalled"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come from the writer."""
        return self not in {Phase.RUNNING, Phase.STALLED}


class Process(Enum):
    """What is known of the writer's process."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How the kernel says that a process ended: one of both is zero."""

    code: int
    signal: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The writer's own exit record."""

    exit_code: int
    signal: int
    reason: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One look at a writer."""

    at: float  # wall clock, Unix seconds
    monotonic_s: float
    is_on_this_machine: bool = True
    was_rebooted: bool = False
    process: Process = Process.ALIVE
    status: ExitStatus | None = None
    #: Counts up while the writer's background thread lives; None where it cannot be read.
    beat: int | None = None
    is_spool_read: bool = False
    goodbye: Goodbye | None = None
    ran_out_of_memory: bool = False


@dataclass(frozen=True, kw_only=True)
class Life:
    """What is held of a writer."""

    phase: Phase = Phase.RUNNING
    reason: str = ""
    at: float = 0.0
    exit_code: int = 0
    signal: int = 0
    beat: int | None = None
    beat_since_s: float = 0.0
    still_probes: int = 0


@dataclass(frozen=True)
class Verdict:
    """The life after a look, and whether the daemon has something to say of it."""

    life: Life
    is_asserted: bool = False


def judge(life: Life, facts: Facts, *, stalled_after_s: float) -> Verdict:
    """What a look at a writer changes."""
    if not life.phase.is_ended and facts.goodbye is not None:
        return Verdict(said_goodbye(life, facts.goodbye))
    if life.phase.is_ended or not facts.is_on_this_machine:
        return Verdict(life)
    if facts.was_rebooted or facts.process is Process.GONE:
        if not facts.is_spool_read:
            return Verdict(life)
        return Verdict(_died(life, facts), is_asserted=True)
    if facts.process is Process.UNKNOWN or facts.beat is None:
        return Verdict(life)
    return _watched_beat(life, facts, stalled_after_s)


def said_goodbye(life: Life, goodbye: Goodbye) -> Life:
    """The life of a writer that has told its own end."""
    is_finished = goodbye.exit_code == 0 and goodbye.signal == 0
    phase = Phase.FINISHED if is_finished else Phase.FAILED
    return replace(
        life,
        phase=phase,
        reason=goodbye.reason,
        at=goodbye.at,
        exit_code=goodbye.exit_code,
        signal=goodbye.signal,
    )


def _died(life: Life, facts: Facts) -> Life:
    died = replace(life, phase=Phase.CRASHED, at=facts.at)
    if facts.was_rebooted:
        return replace(died, reason="the host was rebooted or lost power while the run was open")
    status = facts.status
    if status is None:
        return replace(
            died, reason="the process is gone without a word, and how it ended is not known"
        )
    if status.signal:
        reason = f"killed by {signal_name(status.signal)}"
        if facts.ran_out_of_memory and status.signal == signal.SIGKILL:
            reason += ", probably by the kernel because the host or its group ran out of memory"
        return replace(died, reason=reason, signal=status.signal)
    if status.code:
        reason = f"exited with code {status.code} without saying so"
        return replace(died, phase=Phase.FAILED, reason=reason, exit_code=status.code)
    return replace(died, phase=Phase.FINISHED, reason="exited with code 0 without saying so")


def _watched_beat(life: Life, facts: Facts, stalled_after_s: float) -> Verdict:
    if facts.beat != life.beat:
        fresh = replace(life, beat=facts.beat, beat_since_s=facts.monotonic_s, still_probes=0)
        if life.phase is Phase.STALLED:
            fresh = replace(fresh, phase=Phase.RUNNING, reason="", at=facts.at)
            return Verdict(fresh, is_asserted=True)
        return Verdict(fresh)
    still_s = facts.monotonic_s - life.beat_since_s
    still = replace(life, still_probes=life.still_probes + 1)
    if (
        life.phase is Phase.RUNNING
        and still_s > stalled_after_s
        and still.still_probes >= _STILL_PROBES_MIN
    ):
        reason = f"alive, but without a sign of life for {still_s:.0f} s"
        return Verdict(
            replace(still, phase=Phase.STALLED, reason=reason, at=facts.at), is_asserted=True
        )
    return Verdict(still)


def signal_name(number: int) -> str:
    """A signal as people know it."""
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
