"""The version of the distribution, and which of two versions is newer."""

from __future__ import annotations

import re

__version__ = "0.2.0"

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")
_PARTS_MAX = 6


def is_newer(version: str, than: str) -> bool:
    """Whether a version is certainly newer than another.

    Only the release counts: what stands behind it (`.dev1`, `+local`) does not, and a version
    that cannot be read is newer than nothing, so that of two processes at most one takes over.
    """
    ours, theirs = _release(version), _release(than)
    return bool(ours) and bool(theirs) and ours > theirs


def _release(version: str) -> tuple[int, ...]:
    found = _NUMBERS.match(version)
    if found is None:
        return ()
    parts = [int(part[:9]) for part in found.group().split(".")[:_PARTS_MAX]]
    return tuple(parts + [0] * (_PARTS_MAX - len(parts)))
