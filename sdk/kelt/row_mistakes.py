"""What can be wrong with a row: keys that are kelt's own, and values that are too large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kelt.errors import SpoolFullError, UsageError
from kelt.journal.errors import NoSpaceError
from kelt.values import STEP_KEY, column_of
from kelt_proto.v1.rows import ColumnKind


def own_step(values: dict[Any, Any], step: object) -> object:
    """Takes the step out of a row that names it itself; `step` is the call's.

    Raises:
        UsageError: both are given, and differ.
    """
    own = values.pop(STEP_KEY, None)
    if own is not None and step is not None and own != step:
        raise UsageError(
            f"kelt.log: the row says {STEP_KEY!r} is {own!r} and the call says step={step!r}; "
            "give one of them."
        )
    return step if own is None else own


def own_number(values: dict[Any, Any], key: str) -> float | None:
    """Takes one of kelt's own keys out of a row: seconds, or None where it is not there.

    Raises:
        UsageError: it is no number.
    """
    if key not in values:
        return None
    value = values.pop(key)
    kind, plain = column_of(value, key)
    if kind not in {ColumnKind.FLOAT, ColumnKind.INT} or not isinstance(plain, (float, int)):
        raise UsageError(f"kelt.log: {key!r} is kelt's own and holds seconds, not {value!r}.")
    return float(plain)


def no_room(error: NoSpaceError) -> SpoolFullError:
    """What the caller hears where `spool_policy` is "raise"."""
    return SpoolFullError(
        f"kelt.log: there is no room for this row ({error.reason}), so it was not logged; free "
        "some disk, raise KELT_SPOOL_BYTES_MAX, or let spool_policy be 'block' or 'drop_counted'."
    )


def too_large(names: Sequence[str], row: Sequence[Any]) -> UsageError:
    """What the caller hears of a row that no record can hold."""
    sizes = [len(v) if isinstance(v, str) else len(repr(v)) for v in row]
    largest = names[sizes.index(max(sizes))] if sizes else ""
    return UsageError(
        f"kelt.log: this row takes more than 8 MiB, and {largest!r} is its largest value; "
        "log less of it, or save it as a file."
    )
