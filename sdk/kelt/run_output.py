"""What a session puts out beside its rows: the console, and what is measured of the machine.

Both go into the session's spool, where they never take the half of its quota that is kept for rows.
The background thread writes them in its rounds. Output that goes wrong in a way that nobody thought
of is given up, as it is less than the rows.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
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
        console: told what cannot be kept.
        label: of a writer of a shared run, else empty.
        measures: whether this process tells of the machine: a forked child leaves it to its parent.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        spool: SpoolWriter,
        console: Console,
        label: str,
        measures: bool,
    ) -> None:
        self._console = console
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

    def begin(self) -> None:
        """Listens from now on to what is printed."""
        if self._log is None:
            return
        if self._mode == "redirect":
            self._console.warn(
                "console='redirect' is taken for 'wrap': what Python prints is kept, and what C "
                "libraries and child processes write is not"
            )
        for stream in shared_capture().listen(self._log.printed.take):
            self._console.warn(
                f"what is printed to sys.{stream} is not kept: its write cannot be followed"
            )

    def turn(self, now_s: float) -> None:
        """Writes what is due."""
        with self._given_up_on_error():
            if self._log is not None:
                self._log.write(now_s)
            if self._sampling is not None:
                self._sampling.look(now_s)

    @contextlib.contextmanager
    def between_branches(self) -> Iterator[None]:
        """Around the record after which all belongs to another branch."""
        with contextlib.ExitStack() as stack:
            with self._given_up_on_error():
                if self._log is not None:
                    stack.enter_context(self._log.between_branches(time.monotonic()))
            yield

    def add_traceback(self, error: BaseException) -> None:
        """The exception that ends the run; Python prints it once the run is over."""
        with self._given_up_on_error():
            if self._log is not None and not isinstance(error, SystemExit):
                self._log.printed.take("".join(traceback.format_exception(error)), is_error=True)

    def end(self) -> None:
        """Lets go of the streams, and writes what is left; before the record of the end."""
        with self._given_up_on_error():
            if self._log is not None:
                shared_capture().leave(self._log.printed.take)
                self._log.end(time.monotonic())
            if self._sampling is not None:
                self._sampling.end()

    @contextlib.contextmanager
    def _given_up_on_error(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 # see the module's description
            log, self._log, self._sampling = self._log, None, None
            if log is not None:
                shared_capture().leave(log.printed.take)
            self._console.warn(
                f"console and system metrics of this run are given up ({type(error).__name__}: "
                f"{error}); rows are kept"
            )
