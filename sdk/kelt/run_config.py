"""A run's config: nested, readable and writable by attribute and by item; every change is kept.

What a fork, rewind or resume inherits is read when it is first needed, because finding it can mean
reading a parent's records. A change is recorded with the whole value of its top-level key.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kelt.attribute_mapping import AttributeMapping
from kelt.console import Console
from kelt.errors import UsageError
from kelt.values import checked_key, plain_value

_CALLER = "kelt.config"


class ConfigSection(AttributeMapping):
    """A dict inside the config; what is set in it is recorded with its top-level key.

    Args:
        values: the dict itself.
        on_change: called after each change.
        path: its place in the config, for messages.
    """

    def __init__(
        self, *, values: dict[str, Any], on_change: Callable[[], None], path: str = ""
    ) -> None:
        self._values = values
        self._on_change = on_change
        self._path = path

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        if not isinstance(value, dict):
            return value
        return ConfigSection(values=value, on_change=self._on_change, path=f"{self._path}{key}.")

    def __setitem__(self, key: str, value: Any) -> None:
        checked = plain_value(_unwrapped(value), f"{self._path}{key}", _CALLER)
        self._values[checked_key(key, _CALLER)] = checked
        self._on_change()

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._on_change()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _no_value(self, name: str) -> str:
        return f"the config has no value '{self._path}{name}'"

    def as_dict(self) -> dict[str, Any]:
        """A copy as plain dicts."""
        return copy.deepcopy(self._values)

    def __repr__(self) -> str:
        return repr(self.as_dict())


class RunConfig(AttributeMapping):
    """`run.config`.

    Args:
        inherited: gives what the run has from its parent or from earlier sessions.
        given: what was set at the start, already recorded.
        on_change: told of each change: values by top-level key, and removed keys.
    """

    def __init__(
        self,
        *,
        inherited: Callable[[], dict[str, Any]],
        given: dict[str, Any],
        on_change: Callable[[dict[str, Any], list[str]], None],
    ) -> None:
        self._inherited = inherited
        self._on_change = on_change
        self._own = dict(given)
        self._removed: set[str] = set()
        self._merged: dict[str, Any] | None = None
        self._lock = threading.RLock()

    def _all(self) -> dict[str, Any]:
        with self._lock:
            if self._merged is None:
                self._merged = copy.deepcopy(self._inherited())
                for key in self._removed:
                    self._merged.pop(key, None)
                self._merged.update(self._own)
            return self._merged

    def __getitem__(self, key: str) -> Any:
        value = self._all()[key]
        if not isinstance(value, dict):
            return value
        return ConfigSection(
            values=value, on_change=lambda: self._set({key: value}), path=f"{key}."
        )

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        with self._lock:
            del self._all()[key]
            self._own.pop(key, None)
            self._removed.add(key)
        self._on_change({}, [key])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def _no_value(self, name: str) -> str:
        return f"the config has no value {name!r}"

    def update(
        self, other: Any = (), /, *, allow_val_change: bool | None = None, **more: Any
    ) -> None:
        """Sets several values as one record; what is not named stays.

        Args:
            other: a mapping, an argparse Namespace or a dataclass instance.
            allow_val_change: accepted from scripts written for wandb; values may always change.
            more: values by name.

        Raises:
            UsageError: a value that cannot be stored; none is set.
        """
        del allow_val_change
        self._set(checked_config({**_as_mapping(other), **more}))

    def setdefaults(self, other: Any = (), /, **more: Any) -> None:
        """Sets those values that have none yet."""
        given = checked_config({**_as_mapping(other), **more})
        self._set({key: value for key, value in given.items() if key not in self._all()})

    def as_dict(self) -> dict[str, Any]:
        """A copy as plain dicts."""
        return copy.deepcopy(self._all())

    def own(self) -> dict[str, Any]:
        """What was set here, without what is inherited."""
        return copy.deepcopy(self._own)

    def after_fork(self) -> None:
        """Forgets a lock that a thread of the parent may have held."""
        self._lock = threading.RLock()

    def _set(self, values: dict[str, Any]) -> None:
        if not values:
            return
        with self._lock:
            self._own.update(values)
            self._removed.difference_update(values)
            if self._merged is not None:
                self._merged.update(values)
        self._on_change(values, [])

    def __repr__(self) -> str:
        return repr(self.as_dict())


def checked_config(values: Any) -> dict[str, Any]:
    """Config values as JSON has them.

    Raises:
        UsageError: one of them cannot be stored; the message names its key.
    """
    return {
        checked_key(key, _CALLER): plain_value(_unwrapped(value), key, _CALLER)
        for key, value in _as_mapping(values).items()
    }


def warn_of_twins(config: Mapping[str, Any], console: Console) -> None:
    """Says which keys of a config look like the path of another."""
    for key in keys_like_paths(config):
        console.warn_once(
            f"config {key}",
            f"the config has a key {key!r} and, nested, another at the same path: both are "
            f"kept, and whoever asks for config.{key} gets the one whose name has the dot",
        )


def keys_like_paths(values: Mapping[str, Any]) -> list[str]:
    """The keys with dots in their names at whose path there is a nested key too."""
    return [key for key in values if "." in key and _has_path(values, key.split("."))]


def _has_path(values: Any, path: list[str]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def _as_mapping(values: Any) -> dict[Any, Any]:
    if values is None:
        return {}
    if _is_namespace(values):
        return dict(vars(values))
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        return dataclasses.asdict(values)
    if isinstance(values, (RunConfig, ConfigSection)):
        return values.as_dict()
    if isinstance(values, Mapping):
        return dict(values)
    try:
        return dict(values)
    except (TypeError, ValueError):
        raise UsageError(
            f"{_CALLER} takes a dict, an argparse Namespace or a dataclass, "
            f"not {type(values).__name__}."
        ) from None


def _is_namespace(value: Any) -> bool:
    argparse = sys.modules.get("argparse")  # loaded by whoever has made one
    return argparse is not None and isinstance(value, argparse.Namespace)


def _unwrapped(value: Any) -> Any:
    if isinstance(value, (RunConfig, ConfigSection)):
        return value.as_dict()
    if _is_namespace(value):
        return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value
