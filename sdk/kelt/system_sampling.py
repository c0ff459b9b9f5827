"""Measuring the machine from time to time, in a thread for each time.

A driver that hangs must hang neither the training nor what sends its rows, and a thread that only
sleeps is one too many: so each measurement has a thread, which is gone some milliseconds later, and
while one has not come back there is no other. Nobody waits for it at the end of a run.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kelt import records

if TYPE_CHECKING:
    from kelt.system_metrics import SystemMetrics

#: Before the label of a writer of a shared run, in the names of its metrics, as W&B has it.
_LABEL_MARK = "/l:"
#: As in `kelt.console_log`.
_END_S = 1.0


class SystemSampling:
    """The system samples of one writer.

    Args:
        append: takes a record.
        interval_s: from one sample to the next; the first comes after one interval.
        label: of a writer of a shared run, else empty.
    """

    def __init__(
        self, *, append: Callable[[bytes], bool], interval_s: float, label: str = ""
    ) -> None:
        self._append = append
        self._interval_s = interval_s
        self._label = f"{_LABEL_MARK}{label}" if label else ""
        self._began_s, self._began_cpu_s = time.monotonic(), time.process_time()
        self._due_s = self._began_s + interval_s
        self._metrics: SystemMetrics | None = None
        self._is_under_way = False
        self._lock = threading.RLock()
        self._has_ended = False

    def look(self, now_s: float) -> None:
        """Measures if it is time."""
        if now_s < self._due_s or self._is_under_way or self._has_ended:
            return
        self._due_s = now_s + self._interval_s
        self._is_under_way = True
        thread = threading.Thread(target=self._measure, name="kelt-system", daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter ends: no more threads
            thread.start()

    def end(self) -> None:
        """Nothing is written from now on."""
        is_held = self._lock.acquire(timeout=_END_S)
        self._has_ended = True
        if is_held:
            self._lock.release()

    def _measure(self) -> None:
        try:
            if self._metrics is None:
                from kelt.system_metrics import SystemMetrics  # noqa: PLC0415 # it loads psutil

                self._metrics = SystemMetrics(began_s=self._began_s, cpu_s=self._began_cpu_s)
            values = {f"{name}{self._label}": v for name, v in self._metrics.sample().items()}
            runtime_s = time.monotonic() - self._began_s
            payload = records.system(values, at=time.time(), runtime=runtime_s)
            with self._lock:
                if not self._has_ended:
                    self._append(payload)
        except Exception:  # noqa: BLE001 # no /proc, a library of another version: no metrics then
            self._has_ended = True
        finally:
            self._is_under_way = False
