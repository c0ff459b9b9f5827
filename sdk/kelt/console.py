"""What kelt says on standard error: few lines, colour only on a terminal, nothing when silent."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from kelt.sparkline import sparkline
from kelt_proto.v1.rows import Value

SUMMARY_KEYS_MAX = 10
_PREFIX = "kelt: "
_BOLD, _DIM, _YELLOW, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[33m", "\x1b[0m"


@dataclass(frozen=True, kw_only=True)
class RunLabel:
    """How a run is named to people."""

    run_id: str
    name: str
    project: str
    folder: Path
    url: str | None

    @property
    def sync_command(self) -> str:
        """Sends the run later."""
        return f"kelt sync {self.folder}"


class Console:
    """Speaks to people.

    Args:
        silent: say nothing.
        stream: where to; standard error as it is at the time of speaking if None.
    """

    def __init__(self, *, silent: bool, stream: TextIO | None = None) -> None:
        self.silent = silent
        self._stream = stream
        self._warned: set[str] = set()
        self._may_warn_of_losses = not silent
        self._lock = threading.RLock()  # a signal handler may speak too

    def say(self, text: str, *, style: str = "") -> None:
        """Writes lines; a broken terminal is nobody's problem."""
        if not self.silent:
            self._write(text, style)

    def _write(self, text: str, style: str) -> None:
        stream = self._stream or sys.stderr
        if stream is None:
            return
        lines = "".join(f"{self._styled(_PREFIX, _DIM)}{line}\n" for line in text.split("\n"))
        try:
            with self._lock:
                stream.write(self._styled(lines, style))
                stream.flush()
        except Exception:  # noqa: BLE001 # whatever others put in the place of standard error
            self.silent, self._may_warn_of_losses = True, False

    def warn(self, text: str) -> None:
        """Writes a warning."""
        self.say(text, style=_YELLOW)

    def warn_once(self, topic: str, text: str) -> None:
        """Writes a warning, unless there was one on this topic."""
        if topic not in self._warned:
            self._warned.add(topic)
            self.warn(text)

    def warn_of_loss_once(self, topic: str, text: str) -> None:
        """Writes a warning that even a forked child does not keep to itself."""
        if topic not in self._warned and self._may_warn_of_losses:
            self._warned.add(topic)
            self._write(text, _YELLOW)

    def forget(self, topic: str) -> None:
        """Lets the next warning on this topic through."""
        self._warned.discard(topic)

    @property
    def is_terminal(self) -> bool:
        """Whether people are likely to watch."""
        stream = self._stream or sys.stderr
        try:
            return not self.silent and stream is not None and stream.isatty()
        except Exception:  # noqa: BLE001 # a closed stream, or one of others that lacks the method
            return False

    def after_fork(self) -> None:
        """Falls silent in a forked child, and forgets a lock that its parent may have held."""
        self._lock = threading.RLock()
        self.silent = True

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{_RESET}" if style and self.is_terminal else text

    # -- messages ---------------------------------------------------------------------------------

    def started(self, label: RunLabel, *, how: str, offline: bool) -> None:
        """The lines at the start of a run."""
        lines = [f"{how} {label.name} ({label.run_id}) in project {label.project}"]
        if label.url and not offline:
            lines.append(f"see {label.url}")
        lines.append(f"data in {label.folder}")
        if offline:
            lines.append(f"offline; to send it, run: {label.sync_command}")
        self.say("\n".join(lines))

    def finished(self, label: RunLabel, closing: Closing) -> None:
        """The lines at the end of a run, the last of which is for programs."""
        lines = [*_history_lines(closing.courses), *_summary_lines(closing.summary)]
        if closing.offline:
            lines.append(f"to send this run, run: {label.sync_command}")
        elif closing.is_synced:
            lines.append(f"all {closing.records} records are on the server")
            if closing.artifacts_waiting:
                lines.append(
                    f"its artifacts are on this host's disk and not all on the server "
                    f"({closing.artifacts_waiting} wait); the daemon goes on sending them"
                )
        else:
            lines.append(
                f"{closing.waiting} of {closing.records} records are on this host's disk and not "
                f"yet on the server ({closing.why}); the daemon "
                + ("goes on sending them" if closing.has_daemon else "sends them once it runs")
            )
        if label.url and not closing.offline:
            lines.append(f"see {label.url}")
        synced = "later" if closing.offline else "yes" if closing.is_synced else "no"
        lines.append(
            f"run={label.run_id} project={label.project} state={closing.state} "
            f"rows={closing.rows} lost={closing.lost_rows} synced={synced}"
        )
        self.say("\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What is known of a run at its end."""

    state: str
    rows: int
    lost_rows: int
    records: int
    waiting: int
    is_synced: bool
    offline: bool
    why: str
    has_daemon: bool
    artifacts_waiting: int
    courses: Mapping[str, Sequence[float]]
    summary: Mapping[str, Value]


def _history_lines(courses: Mapping[str, Sequence[float]]) -> list[str]:
    shown = {k: v for k, v in sorted(courses.items()) if len(v) > 1}
    width = max((len(name) for name in list(shown)[:SUMMARY_KEYS_MAX]), default=0)
    return [
        f"{name:<{width}}  {sparkline(values)}"
        for name, values in list(shown.items())[:SUMMARY_KEYS_MAX]
    ]


def _summary_lines(summary: Mapping[str, Value]) -> list[str]:
    names = sorted(summary)[:SUMMARY_KEYS_MAX]
    width = max((len(name) for name in names), default=0)
    lines = [f"{name:<{width}}  {_shown(summary[name])}" for name in names]
    if len(summary) > len(names):
        lines.append(f"… and {len(summary) - len(names)} more")
    return lines


def _shown(value: Value) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"  # noqa: PLR2004 # a line's worth
