"""What a process does when somebody stops its run at the server: what Ctrl-C would do.

The signal goes to the main thread itself, which it wakes from what it waits in. So the script's own
handling of interrupts is kept: it may save a checkpoint, or ignore them.
"""

from __future__ import annotations

import contextlib
import signal
import threading

from kelt.console import Console


def obey_stop(console: Console, *, stoppable: bool) -> None:
    """Interrupts the main thread, or only says that it was asked to."""
    if not stoppable:
        console.warn("the run was stopped at the server; it goes on, as stoppable=False says")
        return
    console.warn("the run was stopped at the server: this process is interrupted, as by Ctrl-C")
    main = threading.main_thread()
    if main.is_alive() and main.ident is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            signal.pthread_kill(main.ident, signal.SIGINT)
