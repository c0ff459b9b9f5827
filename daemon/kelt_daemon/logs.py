"""The daemon's log: JSON lines in a rotated file, sentences on a terminal, keys in neither."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

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
            if any(word in key.lower() for word in _SECRET_WORDS):
                event[key] = _HIDDEN
            elif isinstance(value, str):
                event[key] = self._clean(value)
        return event

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def configure_logs(logs: Path, config: DaemonConfig) -> Redactor:
    """Sends all that is logged to `daemon.log`, and to standard error where that is a terminal."""
    redactor = Redactor()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redactor,
    ]
    file = logging.handlers.RotatingFileHandler(
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
    return redactor


def _formatter(shared: list[Any], renderer: Any) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


class _KeltLoggers:
    """All events of the daemon go to one standard logger."""

    def __call__(self, *_: Any) -> logging.Logger:
        return logging.getLogger("kelt_daemon")
