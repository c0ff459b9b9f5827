"""YAML as W&B's client writes a run's config: pure.

Blocks alone, indented to multiples of four; keys in order, numbers among them by their value. What
a reader of YAML 1.1 or 1.2 could take for something else than a text is quoted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_INDENT = 4
_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./()+ \-]*(?<! )")
#: Words, numbers and dates, in any notation of YAML 1.1.
_MEANS_SOMETHING = re.compile(
    r"y|n|yes|no|on|off|true|false|null|\d{4}-\d\d?-\d\d?.*"
    r"|\d[\d_]*(\.[\d_]*)?(e[-+]?\d+)?|0x[\da-f_]+|0o[0-7_]+|0b[01_]+",
    re.IGNORECASE,
)
#: What stands for itself in JSON and not in YAML.
_HIDDEN = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_DIGITS = re.compile(r"(\d+)")


def encode_yaml(values: Mapping[str, Any]) -> str:
    """A document of what JSON can hold, with NaN and infinities."""
    return "".join(f"{line}\n" for line in _mapping(values, 0)) or "{}\n"


def _mapping(values: Mapping[str, Any], column: int) -> Iterator[str]:
    for key in sorted(values, key=_place):
        head, inner = " " * column + _text(key) + ":", values[key]
        if isinstance(inner, (Mapping, list, tuple)) and inner:
            yield head
            yield from _block(inner, _INDENT * (column // _INDENT + 1))
        else:
            yield f"{head} {_scalar(inner)}"


def _sequence(values: Sequence[Any], column: int) -> Iterator[str]:
    for inner in values:
        if isinstance(inner, (Mapping, list, tuple)) and inner:
            lines = _block(inner, column + 2)
            yield " " * column + "- " + next(lines).lstrip(" ")
            yield from lines
        else:
            yield " " * column + f"- {_scalar(inner)}"


def _block(values: Mapping[str, Any] | Sequence[Any], column: int) -> Iterator[str]:
    if isinstance(values, Mapping):
        return _mapping(values, column)
    return _sequence(values, column)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)  # None, a boolean, an integer, or an empty container


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    if value.is_integer() and abs(value) < 1e21:  # noqa: PLR2004 # as Go writes it
        return str(int(value))
    digits, sign, exponent = repr(value).partition("e")
    # Without a point it is a text to readers of YAML 1.1.
    return digits + (".0" if sign and "." not in digits else "") + sign + exponent


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _MEANS_SOMETHING.fullmatch(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _place(key: str) -> list[tuple[int, int, str]]:
    parts = _DIGITS.split(key)
    return [(1, int(part), "") if part.isdecimal() else (2, 0, part) for part in parts if part]
