"""Small JSON files whose damage is noticed: an object with the checksum of the rest in it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

_KEY = "crc32"


def encode_checked(data: Mapping[str, Any]) -> bytes:
    """The contents of a file."""
    return json.dumps({**data, _KEY: _crc32(data)}, indent=1).encode() + b"\n"


def decode_checked(raw: bytes, *, is_required: bool = True) -> dict[str, Any]:
    """What was encoded, without its checksum.

    Args:
        raw: the contents of a file.
        is_required: whether an object without a checksum is refused.

    Raises:
        ValueError: it is not such an object, or not as it was written.
    """
    try:
        data = json.loads(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 # bytes from a disk, not a caller's
    stated = data.pop(_KEY, None)
    if stated is None and not is_required:
        return data
    if stated != _crc32(data):
        raise ValueError(f"its checksum does not match (whoever edits it takes {_KEY!r} out)")
    return data


def _crc32(data: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True, separators=(",", ":")).encode())
