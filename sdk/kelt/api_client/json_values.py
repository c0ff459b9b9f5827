"""The read API's JSON: like any other, except that NaN and the infinities keep their places.

`{"$float": "NaN"}` stands for a float that JSON has no word for. Integers of any size stay
integers, which is why this is not orjson: it turns those past 64 bits into floats.
"""

from __future__ import annotations

import json
import math
from typing import Any

_FLOAT = "$float"
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def decode_json(body: bytes) -> Any:
    """What a reply says, with exact types.

    Raises:
        ValueError: the body is not JSON.
    """
    text = body.decode("utf-8", "surrogatepass")
    # The hook costs a call for every object; most replies have no use for it.
    if _FLOAT in text:
        return json.loads(text, object_hook=_revive)
    return json.loads(text)


def encode_json(value: Any) -> str:
    """One line of strict JSON, written as the read API writes it."""
    return json.dumps(_spell_out(value), allow_nan=False, ensure_ascii=True)


def _revive(item: dict[str, Any]) -> Any:
    if len(item) == 1 and (word := item.get(_FLOAT)) in _NON_FINITE:
        return _NON_FINITE[word]
    return item


def _spell_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        word = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {_FLOAT: word}
    if isinstance(value, dict):
        return {str(key): _spell_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spell_out(item) for item in value]
    return value
