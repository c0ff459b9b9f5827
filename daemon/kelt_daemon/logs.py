"""The daemon's log: JSON lines in a rotated file, sentences on a terminal, keys in neither.

What is not logged but printed, the report of a crash, passes the same redactor.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

from kelt.addresses import hide_users
from kelt_daemon.config import DaemonConfig

LOG_NAME = "daemon.log"
_HIDDEN = "[hidden]"
_SECRET_WORDS = ("api_key", "authorization", "token", "password", "secret")


class Redactor:
    """Hides secrets, by the name of a field and wherever a known key occurs in a text."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def add(self, secret: str) -> None:
        """Takes a value that must not be shown."""
        if secret:
            self._secrets.add(secret)

    def __call__(  # noqa: D102 # structlog's form of a processor
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if key.startswith("_"):
                continue  # structlog's own, not shown
            is_secret = any(word in key.lower() for word in _SECRET_WORDS)
            event[key] = _HIDDEN if is_secret else self._cleaned(value)
        return event

    def _cleaned(self, value: Any) -> Any:
        """Plain values as they are, and all others as they would be rendered, without secrets."""
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.clean(value if isinstance(value, str) else repr(value))

    def clean(self, text: str) -> str:
        """A text without secrets: known keys, and whoever stands in an address."""
        for secret in tuple(self._secrets):
            text = text.replace(secret, _HIDDEN)
        return hide_users(text, hidden=_HIDDEN)


def configure_logs(logs: Path, config: DaemonConfig) -> Redactor:
    """Sends all that is logged to `daemon.log`, and to standard error where that is a terminal."""
    redactor = Redactor()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redactor,
    ]
    file = _PrivateFile(
        logs / LOG_NAME,
        maxBytes=config.log_bytes_max,
        backupCount=config.log_files_max - 1,
        encoding="utf-8",
        delay=True,
    )
    file.setFormatter(_formatter(shared, structlog.processors.JSONRenderer()))
    handlers: list[logging.Handler] = [file]
    if sys.stderr is not None and sys.stderr.isatty():
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(_formatter(shared, structlog.dev.ConsoleRenderer()))
        handlers.append(terminal)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("kelt_daemon").setLevel(logging.INFO)
    logging.raiseExceptions = False  # a full disk must not become a stack trace a second
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=_KeltLoggers(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _report_crashes(redactor)
    return redactor


def _report_crashes(redactor: Redactor) -> None:
    """What ends the daemon, or one of its threads, is logged and printed without secrets."""

    def report(error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return
        text = redactor.clean("".join(traceback.format_exception(error)))
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, end="", flush=True)  # noqa: T201 # where crashes go
        structlog.get_logger().critical("daemon_crashed", report=text)

    sys.excepthook = lambda _kind, error, _trace: report(error)
    threading.excepthook = lambda said: report(said.exc_value) if said.exc_value else None
    sys.unraisablehook = lambda said: report(said.exc_value) if said.exc_value else None


def _formatter(shared: list[Any], renderer: Any) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A log that is its owner's alone, whatever the umask; nobody's link is followed."""

    def _open(self) -> Any:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding=self.encoding)


class _KeltLoggers:
    """All events of the daemon go to one standard logger."""

    def __call__(self, *_: Any) -> logging.Logger:
        return logging.getLogger("kelt_daemon")
