"""Hearing what the process prints, without standing in the way of it.

The `write` of standard output and standard error, as they are when a run begins, gets a companion
that writes first, exactly as before, and then tells the open runs. The streams themselves stay what
they are: whoever holds one (a logging handler, a progress bar) holds it still, and `sys.stdout` is
never ours to give back. With the last run the companion goes, unless others have wrapped it
meanwhile: then it stays below them, and only passes on.

Streams may stand on each other (a tee that writes on into what was there before): the outermost
tells, and what it writes on is told once. What is written past `write`, by C libraries, by child
processes or into `sys.stdout.buffer`, is not heard. A forked child has no run to tell until it
begins one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

#: Told a piece, and whether it went to standard error; in the thread that prints, so it is quick.
Listener = Callable[[str, bool], None]
_NAMES = ("stdout", "stderr")


class _Inside(threading.local):
    #: Whether this thread is in the middle of a write that will be told.
    is_writing = False


class _Tap:
    """The companion of one stream."""

    def __init__(self, stream: Any, *, is_error: bool, capture: ConsoleCapture) -> None:
        self.stream = stream
        self._was = getattr(stream, "__dict__", {}).get("write")
        self._original = original = stream.write
        inside = _inside

        def write(text: Any, *more: Any) -> Any:
            if inside.is_writing:
                return original(text, *more)
            inside.is_writing = True
            try:
                written = original(text, *more)
            finally:
                inside.is_writing = False
            if isinstance(text, str):
                try:
                    for listener in capture.listeners:
                        listener(text, is_error)
                except Exception:  # noqa: BLE001 # a mistake of kelt's is no error of a print
                    capture.listeners = ()
            return written

        self._write = write
        stream.write = write

    @property
    def is_in_place(self) -> bool:
        """Whether it is what a print meets first."""
        return getattr(self.stream, "write", None) is self._write

    def remove(self) -> None:
        """Puts back what was there, unless somebody has put something else."""
        if not self.is_in_place:
            return
        if self._was is not None:
            self.stream.write = self._was
            return
        try:
            del self.stream.write
        except AttributeError:  # a proxy that hands attributes on
            self.stream.write = self._original


class ConsoleCapture:
    """Both streams of the process.

    Attributes:
        listeners: who is told; replaced as a whole, as printing threads read it.
    """

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = ()
        self._lock = threading.RLock()
        self._taps: list[_Tap] = []

    def listen(self, listener: Listener) -> list[str]:
        """Tells a listener from now on; returns the streams that cannot be heard."""
        with self._lock:
            self.listeners = (*self.listeners, listener)
            return [name for name in _NAMES if not self._is_heard(name)]

    def _is_heard(self, name: str) -> bool:
        stream = getattr(sys, name)
        if stream is None or any(tap.stream is stream and tap.is_in_place for tap in self._taps):
            return True
        try:
            self._taps.append(_Tap(stream, is_error=name == "stderr", capture=self))
        except Exception:  # noqa: BLE001 # whatever others put in the place of a stream
            return False
        return True

    def leave(self, listener: Listener) -> None:
        """Tells a listener nothing more."""
        with self._lock:
            self.listeners = tuple(other for other in self.listeners if other != listener)
            if not self.listeners:
                taps, self._taps = self._taps, []
                for tap in reversed(taps):
                    with contextlib.suppress(Exception):
                        tap.remove()

    def after_fork(self) -> None:
        """In a forked child: the listeners are its parent's, and the lock may be held."""
        self._lock = threading.RLock()
        self.listeners = ()


_inside = _Inside()
_shared = ConsoleCapture()
os.register_at_fork(after_in_child=_shared.after_fork)


def shared_capture() -> ConsoleCapture:
    """That of this process."""
    return _shared
