"""Small things that scripts and integrations look for in wandb's modules."""

from __future__ import annotations

import contextlib
import enum
import re
import secrets
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from kelt.wandb_api.describing import plain_mapping

_ID_CHARS = "0123456789abcdefghijklmnopqrstuvwxyz"

#: Which libraries wandb has changed: none.
patched: dict[str, list[Any]] = {"tensorboard": [], "keras": [], "gym": []}
helper = SimpleNamespace(parse_config=plain_mapping)


class AlertLevel(enum.Enum):
    """How urgent an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


def generate_id(length: int = 8) -> str:
    """A random run id."""
    return "".join(secrets.choice(_ID_CHARS) for _ in range(length))


generate_fast_id = generate_id


def make_artifact_name_safe(name: str) -> str:
    """A name with nothing in it but letters, digits, `_`, `-` and `.`."""
    return re.sub(r"[^a-zA-Z0-9_\-.]", "_", name)[:128]


class _Uncounted:
    """Takes what integrations say of themselves, and forgets it."""

    def __getattr__(self, name: str) -> _Uncounted:
        return self

    def __setattr__(self, name: str, value: object) -> None:
        """Nothing is counted."""


@contextlib.contextmanager
def context(*_args: object, **_named: object) -> Iterator[_Uncounted]:
    """Stands for wandb's telemetry, of which there is none."""
    yield _Uncounted()
