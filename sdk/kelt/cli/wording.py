"""Numbers, times and texts as people read them in a terminal. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_KIB = 1024


def age(seconds: float | None) -> str:
    """How long something took or lies back: the largest unit that fits (`3m`, `2h`, `5d`)."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = max(0, int(seconds))
    for unit, size_s in _UNITS:
        if whole >= size_s:
            return f"{whole // size_s}{unit}"
    return "0s"


def size(count_bytes: int) -> str:
    """A number of bytes, to three digits."""
    value = float(count_bytes)
    for unit in _BINARY[:-1]:
        if value < _KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} {_BINARY[-1]}"


def plain(text: str) -> str:
    """A text without control characters: what users and servers write must not steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def count(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def shown(value: Any, *, characters_max: int = 60) -> str:
    """A logged or configured value on one line; floats to six digits."""
    if isinstance(value, bool) or value is None or isinstance(value, int):
        text = str(value)
    elif isinstance(value, float):
        text = f"{value:.6g}"
        # 1.0 is not 1: the difference was kept all the way, and is kept here.
        if text.lstrip("-").isdigit():
            text += ".0"
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    text = plain(text)
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
