"""Rows as a pandas DataFrame, where pandas is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame | list[dict[str, Any]]:
    """The rows as a frame; as they are without pandas."""
    try:
        import pandas as pd  # noqa: PLC0415 # optional, and slow to load
    except ImportError:
        return rows
    try:
        frame: pd.DataFrame = pd.DataFrame(rows)
    except UnicodeEncodeError:
        frame = _frame_of_any_text(rows)
    return frame


def _frame_of_any_text(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A frame of rows whose keys or texts hold lone surrogates, which pandas' text type cannot."""
    import pandas as pd  # noqa: PLC0415 # as above

    names = list(dict.fromkeys(key for row in rows for key in row))
    columns = {}
    for number, name in enumerate(names):
        values = [row.get(name, float("nan")) for row in rows]
        is_text = any(isinstance(value, str) for value in values)
        columns[number] = pd.Series(values, dtype=object if is_text else None)
    frame: pd.DataFrame = pd.DataFrame(columns)
    frame.columns = pd.Index(names, dtype=object)
    return frame
