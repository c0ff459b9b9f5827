"""Config and summary as a person reads them; media are shown where their files are there.

What wandb's clients log of media is a JSON object with a `_type`, and the `path` of a file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.layout import folded
from kelt_server.pages.sparkline import bars

_CHARACTERS_MAX = 200
#: What comes after these is folded away.
_ROWS_OPEN = 50
_PICTURES_MAX = 24
_BINS_MAX = 1000


def value_table(
    values: Mapping[str, Any], addresses: Mapping[str, str], *, left_out: Collection[str] = ()
) -> Markup:
    """A row for each value.

    Args:
        values: as JSON has them.
        addresses: where the files of the run are, by path.
        left_out: keys that are shown elsewhere.
    """
    rows = [
        tag("tr", tag("th", key), tag("td", _shown(value, addresses)))
        for key, value in values.items()
        if key not in left_out
    ]
    if not rows:
        return tag("p", "Nothing.", class_="quiet")
    more = rows[_ROWS_OPEN:]
    hidden = folded(f"{len(more):,} more", _table(more)) if more else ""
    return escaped([_table(rows[:_ROWS_OPEN]), hidden])


def _table(rows: Sequence[Markup]) -> Markup:
    return tag("div", tag("table", tag("tbody", rows), class_="values"), class_="wide")


def _shown(value: Any, addresses: Mapping[str, str]) -> Child:
    kind = value.get("_type") if isinstance(value, dict) else None
    found = _media(kind, value, addresses) if isinstance(kind, str) else None
    return found or tag("code", _text(value))


def _media(kind: str, value: Mapping[str, Any], addresses: Mapping[str, str]) -> Child:
    """None where it is no media, or its file is not there."""
    if kind == "histogram":
        return _histogram(value)
    if kind == "images/separated":
        captions = dict(enumerate(_list(value.get("captions"))))
        return [
            _picture(addresses[name], str(captions.get(number) or name))
            for number, name in enumerate(_list(value.get("filenames"))[:_PICTURES_MAX])
            if isinstance(name, str) and name in addresses
        ]
    path = value.get("path")
    if not isinstance(path, str) or path not in addresses:
        return None
    address = addresses[path]
    if kind == "image-file":
        return _picture(address, str(value.get("caption") or path))
    if kind in ("audio-file", "video-file"):
        return tag(kind.removesuffix("-file"), src=address, controls="", preload="none")
    rows = f" {value['nrows']} rows" if "nrows" in value else ""
    return [tag("a", path.rpartition("/")[2], href=address), rows]


def _picture(address: str, caption: str) -> Markup:
    picture = tag("img", src=address, alt=caption, title=caption, loading="lazy")
    return tag("a", picture, href=address)


def _histogram(value: Mapping[str, Any]) -> Child:
    """None where its counts are no numbers, or too many."""
    try:
        counts = [float(count) for count in _list(value.get("values"))]
        edges = [float(edge) for edge in _list(value.get("bins"))]
    except (TypeError, ValueError, OverflowError):
        return None
    if not 1 <= len(counts) <= _BINS_MAX:
        return None
    note = f"{edges[0]:.4g} … {edges[-1]:.4g}" if edges else ""
    return [bars(counts), tag("span", note, class_="quiet")]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"$float"}:
        return str(value["$float"])
    if isinstance(value, str):
        text = value
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CHARACTERS_MAX else text[:_CHARACTERS_MAX] + "…"
