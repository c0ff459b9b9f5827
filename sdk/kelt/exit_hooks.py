"""How a process ends, and telling its runs, without changing how it ends.

* An uncaught exception: `sys.excepthook` is chained; KeyboardInterrupt counts as SIGINT.
* `sys.exit(code)`: the exit code of a process is visible to none of Python's hooks, so `sys.exit`
  is chained too. A code counts only if the program's outermost frame then ended without returning:
  where somebody caught the exception, it returns. A script that writes `raise SystemExit(n)`
  itself is seen only inside `with kelt.init(…)`.
* SIGTERM: only where its disposition is the default one, and only from the main thread, a handler
  records the signal, waits a short time, restores the default and sends the signal again: the
  process ends by SIGTERM, as it would have without kelt.
* SIGKILL and the like leave no trace here; the daemon sees the death.

Hooks that others install later are theirs; ours are removed with the last run where they still
stand. An interactive interpreter goes on after an exception, so nothing is concluded from one.
"""

from __future__ import annotations

import atexit
import contextlib
import opcode
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, NoReturn

from kelt.journal.spool_segments import SegmentStore

SIGTERM_FINISH_TIMEOUT_S = 5.0
_RETRY_SIGNAL_S = 0.005
_EXIT_CODE_SIGINT = 130
_EXIT_CODE_SIGTERM = 143
_REASON_CHARS_MAX = 500


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process or a `with` block ended."""

    exit_code: int = 0
    reason: str = ""
    signal: int = 0


def ending_of(error: BaseException | None) -> Ending:
    """What an exception that nobody caught means for a run."""
    if error is None:
        return Ending()
    if isinstance(error, KeyboardInterrupt):
        return Ending(exit_code=_EXIT_CODE_SIGINT, reason="SIGINT", signal=signal.SIGINT)
    if isinstance(error, SystemExit):
        code = _exit_code(error.code)
        reason = error.code if isinstance(error.code, str) else f"exit code {code}"
        return Ending(exit_code=code, reason=reason[:_REASON_CHARS_MAX] if code else "")
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Ending(exit_code=1, reason=text[:_REASON_CHARS_MAX])


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if os.name == "posix" else code
    return 1


class ExitHooks:
    """The process's hooks.

    Args:
        finish_all: finishes every open run with an ending, waiting at most so many seconds (None:
            as its settings say).
        settle: lets background threads that are starting get through; called while threads can
            still be started.
    """

    def __init__(
        self,
        *,
        finish_all: Callable[[Ending, float | None], None],
        settle: Callable[[], None],
    ) -> None:
        self._finish_all = finish_all
        self._settle = settle
        self._is_installed = False
        self._is_registered = False
        self._uncaught: BaseException | None = None
        self._exit: tuple[object, FrameType] | None = None
        self._excepthook: Callable[..., Any] = sys.excepthook
        self._sys_exit: Callable[..., NoReturn] = sys.exit
        # One bound method each, to tell later whether it still stands.
        self._our_excepthook = self._on_exception
        self._our_sys_exit = self._on_sys_exit
        self._our_handler = self._on_sigterm

    def install(self) -> None:
        """Begins to watch; may be called again."""
        if not self._is_registered:
            self._is_registered = True
            atexit.register(self._at_exit)
            # From Python 3.12 on no thread can be started in atexit functions any more.
            with contextlib.suppress(AttributeError, RuntimeError):
                threading._register_atexit(self._settle)  # type: ignore[attr-defined] # noqa: SLF001 # as concurrent.futures does
        if self._is_installed:
            return
        self._is_installed = True
        self._excepthook, sys.excepthook = sys.excepthook, self._our_excepthook
        self._sys_exit, sys.exit = sys.exit, self._our_sys_exit
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            signal.signal(signal.SIGTERM, self._our_handler)

    def uninstall(self) -> None:
        """Takes back what still stands."""
        if not self._is_installed:
            return
        self._is_installed = False
        self._exit = None
        if sys.excepthook is self._our_excepthook:
            sys.excepthook = self._excepthook
        if sys.exit is self._our_sys_exit:
            sys.exit = self._sys_exit
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) == self._our_handler
        ):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def ending(self) -> Ending:
        """How the process is ending, as far as it can be told now."""
        if self._uncaught is not None:
            return ending_of(self._uncaught)
        if self._exit is not None and not _has_returned(self._exit[1]):
            return ending_of(SystemExit(self._exit[0]))
        return Ending()

    def _on_exception(
        self,
        kind: type[BaseException],
        error: BaseException,
        traceback: TracebackType | None,
    ) -> None:
        if not _is_interactive():
            self._uncaught = error
        self._excepthook(kind, error, traceback)

    def _on_sys_exit(self, code: Any = None, /) -> NoReturn:
        if threading.current_thread() is threading.main_thread():
            self._exit = (code, _outermost(sys._getframe()))  # noqa: SLF001 # no other way
        self._sys_exit(code)

    def _at_exit(self) -> None:
        self._finish_all(self.ending(), None)
        if isinstance(self._uncaught, KeyboardInterrupt):
            # Python ends by the signal itself where the last code run from text was ended by an
            # interrupt; what was loaded meanwhile was run from text too.
            with contextlib.suppress(KeyboardInterrupt):
                exec("raise KeyboardInterrupt")  # noqa: S102 # no text of others

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        if _is_recording(frame):
            # The interrupted record gets whole first; then the signal comes again.
            again = threading.Timer(_RETRY_SIGNAL_S, os.kill, (os.getpid(), signum))
            again.daemon = True
            again.start()
            return
        try:
            ending = Ending(exit_code=_EXIT_CODE_SIGTERM, reason="SIGTERM", signal=signum)
            self._finish_all(ending, SIGTERM_FINISH_TIMEOUT_S)
        finally:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


def _is_recording(frame: FrameType | None) -> bool:
    """Whether the signal came in the middle of writing a record."""
    while frame is not None:
        if frame.f_code is SegmentStore.wait_for_room.__code__:
            return False  # it only waits, as spool_policy says, and holds nothing
        if frame.f_globals.get("__name__") in {"kelt.journal.spool", "kelt.row_packing"}:
            return True
        frame = frame.f_back
    return False


def _outermost(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def _has_returned(frame: FrameType) -> bool:
    """Whether a frame that has ended did so by returning, and not by an exception."""
    last = frame.f_code.co_code[frame.f_lasti] if frame.f_lasti >= 0 else 0
    return opcode.opname[last].startswith("RETURN")


def _is_interactive() -> bool:
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)
