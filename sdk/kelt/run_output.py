"""What a session puts out beside its rows: the console, and what is measured of the machine.

Both go into the session's spool, where they never take the half of its quota that is kept for rows.
The background thread has a turn with each of its rounds.
"""

from __future__ import annotations

import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from kelt.console import Console
from kelt.console_capture import shared_capture
from kelt.console_log import ConsoleLog
from kelt.journal.spool import SpoolWriter
from kelt.settings import Settings
from kelt.system_sampling import SystemSampling
from kelt_proto.v1.frames import Kind


class RunOutput:
    """The output of one session.

    Args:
        settings: what is wanted of it.
        spool: of the session.
        label: of a writer of a shared run, else empty.
        measures: whether this process tells of the machine: a forked child leaves it to its parent.
    """

    def __init__(
        self, *, settings: Settings, spool: SpoolWriter, label: str, measures: bool
    ) -> None:
        self._mode = settings.console
        self._log: ConsoleLog | None = None
        if settings.console != "off":
            self._log = ConsoleLog(
                append=partial(spool.append_output, Kind.CONSOLE),
                append_last=partial(spool.append_control, Kind.CONSOLE),
            )
        self._sampling: SystemSampling | None = None
        if measures and not settings.disable_stats:
            self._sampling = SystemSampling(
                append=partial(spool.append_output, Kind.SYSTEM),
                interval_s=settings.stats_sampling_interval_s,
                label=label,
            )

    def begin(self, console: Console) -> None:
        """Listens from now on to what is printed.

        Args:
            console: told what cannot be heard.
        """
        if self._log is None:
            return
        if self._mode == "redirect":
            console.warn(
                "console='redirect' is taken for 'wrap': what Python prints is kept, and what C "
                "libraries and child processes write is not"
            )
        for stream in shared_capture().listen(self._log.printed.take):
            console.warn(
                f"what is printed to sys.{stream} is not kept: its write cannot be followed"
            )

    def turn(self, now_s: float) -> None:
        """Writes what is due."""
        if self._log is not None:
            self._log.write(now_s)
        if self._sampling is not None:
            self._sampling.look(now_s)

    def between_branches(self) -> AbstractContextManager[None]:
        """Around the record after which all belongs to another branch."""
        return nullcontext() if self._log is None else self._log.between_branches(time.monotonic())

    def add_traceback(self, error: BaseException) -> None:
        """The exception that ends the run; Python prints it once the run is over."""
        if self._log is not None and not isinstance(error, SystemExit):
            self._log.printed.take("".join(traceback.format_exception(error)), is_error=True)

    def end(self) -> None:
        """Lets go of the streams, and writes what is left; before the record of the end."""
        if self._log is not None:
            shared_capture().leave(self._log.printed.take)
            self._log.end(time.monotonic())
        if self._sampling is not None:
            self._sampling.end()
