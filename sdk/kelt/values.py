"""User values into columns: what `log()` accepts, and what config and summary accept.

Numbers of NumPy, PyTorch and the like are recognised by what they can do (`dtype`, `item()`,
`__float__`), so that none of these libraries is imported. Not-a-number and infinities stay as
they are.

Three keys are the row's own. `_step` in a row is taken as `step=`, `_timestamp` (Unix seconds) and
`_runtime` (seconds) replace what kelt would have measured; importers use this.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from kelt.errors import UsageError
from kelt_proto.v1.rows import COLUMNS_MAX, NAME_BYTES_MAX, ColumnKind, Value

STEP_KEY = "_step"
TIMESTAMP_KEY = "_timestamp"
RUNTIME_KEY = "_runtime"
#: A dict with this key describes a histogram, a picture or the like, and stays one value.
DESCRIBED_KEY = "_type"
RESERVED_KEYS = frozenset((STEP_KEY, TIMESTAMP_KEY, RUNTIME_KEY))

_INT_MIN = -(2**63)
_INT_MAX = 2**63 - 1
_DEPTH_MAX = 64
_LOGGABLE = "log numbers, strings, booleans, None, lists or nested dicts of these"
_STORABLE = "use numbers, strings, booleans, None, lists or dicts of these"

#: The columns of values whose kind follows from their exact type, and which pack as they are.
PLAIN_KINDS: Mapping[type, ColumnKind] = {
    float: ColumnKind.FLOAT,
    int: ColumnKind.INT,
    bool: ColumnKind.BOOL,
}

Column = tuple[str, ColumnKind, Value]


def kind_of_type(kind: type) -> ColumnKind | None:
    """The column of every value of this exact type, or None where the value itself must tell."""
    if (plain := PLAIN_KINDS.get(kind)) is not None:
        return plain
    if kind.__module__ == "numpy":
        if kind.__name__ in {"float64", "float32", "float16"}:
            return ColumnKind.FLOAT
        if kind.__name__ in {"int64", "int32", "int16", "int8", "uint32", "uint16", "uint8"}:
            return ColumnKind.INT
    return None


def columns(data: Mapping[Any, Any]) -> list[Column]:
    """The columns of a row, in their order: nested dicts are flattened with dots.

    Raises:
        UsageError: a key or value that cannot be logged; the message names it.
    """
    found = list(_flatten(data, "", 0))
    if len(found) > COLUMNS_MAX:
        raise UsageError(
            f"kelt.log: {len(found)} values in one row; log at most {COLUMNS_MAX} at a time."
        )
    if len({name for name, _, _ in found}) != len(found):
        names = [name for name, _, _ in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"kelt.log: {twice!r} comes twice, once written with a dot and once nested; keep one."
        )
    return found


def _flatten(data: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[Column]:
    for key, value in data.items():
        name = prefix + checked_key(key, "kelt.log")
        if len(name) > NAME_BYTES_MAX // 4:
            checked_key(name, "kelt.log")
        if isinstance(value, Mapping) and value and DESCRIBED_KEY not in value:
            if depth >= _DEPTH_MAX:
                raise UsageError(
                    f"kelt.log: {name!r} is nested more than {_DEPTH_MAX} dicts deep; flatten it."
                )
            yield from _flatten(value, f"{name}.", depth + 1)
        else:
            kind, plain = column_of(value, name)
            yield name, kind, plain


def checked_key(key: object, caller: str) -> str:
    """The key, if it can name a value.

    Raises:
        UsageError: it cannot; the message names the key and the caller.
    """
    if not isinstance(key, str):
        raise UsageError(
            f"{caller}: the key {key!r} is {_article(key)}; keys are strings: use {str(key)!r}."
        )
    if not key:
        raise UsageError(f"{caller}: a key is the empty string; give it a name.")
    if len(key.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        raise UsageError(
            f"{caller}: the key {key[:40]!r}… takes more than {NAME_BYTES_MAX} bytes; shorten it."
        )
    return key


def column_of(value: object, name: str) -> tuple[ColumnKind, Value]:
    """The kind of a value's column, and the value as the column holds it.

    Raises:
        UsageError: the value cannot be logged.
    """
    if isinstance(value, (list, tuple, Mapping)):
        return ColumnKind.JSON, _plain(value, name, "kelt.log", _LOGGABLE, 0)
    plain = _scalar(value, name, "kelt.log", _LOGGABLE)
    if plain is None:
        return ColumnKind.NONE, None
    if isinstance(plain, bool):
        return ColumnKind.BOOL, plain
    if isinstance(plain, int):
        fits = _INT_MIN <= plain <= _INT_MAX
        return (ColumnKind.INT if fits else ColumnKind.JSON), plain
    if isinstance(plain, float):
        return ColumnKind.FLOAT, plain
    return ColumnKind.TEXT, plain


def plain_value(value: object, name: str, caller: str) -> Value:
    """A value for config or summary: what JSON can say, with NaN and infinities.

    Raises:
        UsageError: the value cannot be stored; the message names it.
    """
    plain: Value = _plain(value, name, caller, _STORABLE, 0)
    return plain


def _plain(value: object, name: str, caller: str, remedy: str, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        raise UsageError(f"{caller}: {name!r} is nested more than {_DEPTH_MAX} deep; flatten it.")
    if isinstance(value, Mapping):
        return {
            checked_key(key, caller): _plain(item, f"{name}.{key}", caller, remedy, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            _plain(item, f"{name}[{i}]", caller, remedy, depth + 1) for i, item in enumerate(value)
        ]
    if caller != "kelt.log":
        if isinstance(value, (set, frozenset)):
            return [_plain(v, name, caller, remedy, depth + 1) for v in sorted(value, key=repr)]
        if _is_array(value):
            return _plain(_call(value, "tolist"), name, caller, remedy, depth + 1)
        if hasattr(value, "__fspath__"):
            return str(value)
    return _scalar(value, name, caller, remedy)


def _scalar(value: Any, name: str, caller: str, remedy: str) -> bool | int | float | str | None:
    """The plain Python value of anything that is one number, text, truth value or None."""
    if value is None or isinstance(value, bool):
        return value
    # Subclasses (numpy.float64, IntEnum, StrEnum) become what they extend.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if hasattr(value, "dtype") or hasattr(value, "item"):
        return _library_scalar(value, name, caller, remedy)
    if hasattr(value, "__float__") and not isinstance(value, (bytes, bytearray)):
        return float(value)  # Decimal, Fraction
    raise _refused(value, name, caller, remedy)


def _library_scalar(
    value: Any, name: str, caller: str, remedy: str
) -> bool | int | float | str | None:
    if _size(value) != 1:
        raise UsageError(
            f"{caller}: the value of {name!r} is {_article(value)} of {_size(value)} elements; "
            "log one number of it (such as its mean), or a list with .tolist()."
        )
    try:
        plain = value.item()
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UsageError(
            f"{caller}: the value of {name!r} cannot be read as one number ({error}); {remedy}."
        ) from error
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    if hasattr(plain, "__float__"):  # numpy.longdouble gives itself
        return float(plain)
    raise _refused(value, name, caller, remedy)


def _size(value: Any) -> int:
    """How many elements an array or tensor has; 1 for what has no shape."""
    shape = getattr(value, "shape", ())
    try:
        return math.prod(int(n) for n in shape)
    except (TypeError, ValueError):
        return 1


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist") and bool(getattr(value, "shape", ()))


def _call(value: Any, method: str) -> object:
    return getattr(value, method)()


def _refused(value: object, name: str, caller: str, remedy: str) -> UsageError:
    return UsageError(f"{caller}: the value of {name!r} is {_article(value)}; {remedy}.")


def _article(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def checked_step(step: object, step_max: int) -> int:
    """The step, if it can be one: a whole number from 0 to `step_max`.

    Raises:
        UsageError: it cannot.
    """
    number: object = step
    if not isinstance(step, int) and hasattr(step, "item") and _size(step) == 1:
        number = _call(step, "item")
    if isinstance(number, bool) or not isinstance(number, int):
        raise UsageError(
            f"kelt.log: the step {step!r} is {_article(step)}; a step is a whole number: "
            "log other axes as values and name them with define_metric(…, step_metric=…)."
        )
    if not 0 <= number <= step_max:
        raise UsageError(f"kelt.log: the step {number} is not between 0 and {step_max}.")
    return int(number)


def encode_json(value: Value) -> str:
    """A plain value as JSON, with the bare words NaN and Infinity where they occur."""
    return json.dumps(value)
