"""The thread that serves all runs of a process: each of them has rounds, which take turns in it.

A thread for each run would wake up for each run, and a hundred of them keep the training from its
interpreter more than their work does. A round must not wait for anything; what may wait, such as
for a network filesystem, gets a `BackgroundThread` of its own. A forked child begins anew.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import time
from typing import Protocol

#: How soon a round is tried again that failed in a way that nobody thought of.
_FAILED_S = 0.1
#: No run is left alone for longer.
_WAIT_S_MAX = 5.0
#: Rounds that are due within so long are done at once, so that many runs wake the thread no more
#: often than one.
_EARLY_S = 0.005


class Rounds(Protocol):
    """What a run does in the background."""

    def turn(self) -> float | None:
        """One round; how many seconds until the next, or None after the last."""


class Attention:
    """Has a run's next round done at once. Also for signal handlers: nothing is locked."""

    def __init__(self, wake: queue.SimpleQueue[None]) -> None:
        self._wake = wake
        self._is_wanted = False

    def set(self) -> None:
        """Asks for the round."""
        if not self._is_wanted:
            self._is_wanted = True
            self._wake.put(None)

    def taken(self) -> bool:
        """Whether it was asked for since the last time."""
        was_wanted, self._is_wanted = self._is_wanted, False
        return was_wanted


class BackgroundThread:
    """One thread, which lives while it has something to serve."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._added: list[tuple[Rounds, Attention]] = []
        self._is_running = False

    def attention(self) -> Attention:
        """What wakes the thread for a run."""
        return Attention(self._wake)

    def add(self, rounds: Rounds, attention: Attention) -> None:
        """Serves a run from now on, until its last round."""
        with self._lock:
            if not self._is_running:
                threading.Thread(target=self._run, name="kelt-sender", daemon=True).start()
                self._is_running = True
            self._added.append((rounds, attention))
        self._wake.put(None)

    def _run(self) -> None:
        due_at: dict[tuple[Rounds, Attention], float] = {}
        while True:
            with self._lock:
                due_at |= dict.fromkeys(self._added, -math.inf)
                self._added.clear()
                if not due_at:
                    self._is_running = False
                    return
            for member, at in [*due_at.items()]:
                rounds, attention = member
                if not attention.taken() and at > time.monotonic() + _EARLY_S:
                    continue
                wait_s = _turn_of(rounds)
                if wait_s is None:
                    del due_at[member]
                else:
                    due_at[member] = time.monotonic() + wait_s
            if due_at:
                self._wait_until(min(due_at.values()))

    def _wait_until(self, at: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=min(max(0.0, at - time.monotonic()), _WAIT_S_MAX))
            while True:  # one look serves all that asked
                self._wake.get_nowait()


def _turn_of(rounds: Rounds) -> float | None:
    """One round, whose failure is no other run's: a console that others replaced may raise."""
    try:
        return rounds.turn()
    except Exception:  # noqa: BLE001 # the thread is all runs'
        return _FAILED_S


_shared = BackgroundThread()


def shared_thread() -> BackgroundThread:
    """The thread of this process."""
    return _shared


def _begin_anew() -> None:
    """In a forked child, where the thread is not and its lock may be held."""
    global _shared  # noqa: PLW0603 # one for each process
    _shared = BackgroundThread()


os.register_at_fork(after_in_child=_begin_anew)
