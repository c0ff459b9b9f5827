"""`run.config` and `run.summary` as wandb's scripts use them, over kelt's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, NoReturn

from kelt.attribute_mapping import AttributeMapping
from kelt.errors import KeltError, UsageError
from kelt.run_config import RunConfig
from kelt.run_summary import RunSummary
from kelt.wandb_api.carrying import Tell, carried_config, carried_row


class _Values(AttributeMapping):
    """Values by item and by attribute, kept by kelt."""

    _kept: RunConfig | RunSummary

    def __getitem__(self, key: str) -> Any:
        value = self._kept[key]
        return value.as_dict() if hasattr(value, "as_dict") else value

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self._kept[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def _no_value(self, name: str) -> str:
        return f"the run's {type(self).__name__} has no {name!r}"

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """A copy as plain dicts."""
        return self._kept.as_dict()


class Config(_Values):
    """`wandb.config`: values may always change, and are never locked.

    Args:
        kept: the run's.
        tell: told what is left out.
    """

    def __init__(self, kept: RunConfig, tell: Tell) -> None:
        self._kept = kept
        self._tell = tell

    def update(  # type: ignore[override] # wandb's signature
        self, d: Any = (), allow_val_change: bool | None = None, **more: Any
    ) -> None:
        """Sets several values; what is not named stays."""
        del allow_val_change
        self._kept.update(carried_config({**plain_mapping(d), **more}, self._tell))

    def setdefaults(self, d: Any) -> None:
        """Sets those values that have none yet."""
        self.update({key: value for key, value in plain_mapping(d).items() if key not in self})

    def update_locked(self, d: Any, user: object = None, **_named: Any) -> None:
        """Sets several values."""
        del user
        self.update(d)

    merge_locked = update_locked

    def persist(self) -> None:
        """Nothing to do: every change is recorded as it is made."""


class Summary(_Values):
    """`wandb.summary`.

    Args:
        kept: the run's.
        tell: told what is left out.
    """

    def __init__(self, kept: RunSummary, tell: Tell) -> None:
        self._kept = kept
        self._tell = tell

    def update(self, d: Any = (), **more: Any) -> None:  # type: ignore[override] # as above
        """Sets several values, nested ones included."""
        self._kept.update(carried_row({**dict(d), **more}, self._tell))


def plain_mapping(
    given: Any, *, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
) -> dict[Any, Any]:
    """Config values in what scripts hand over: a dict, a file's path, flags, or any object.

    Raises:
        UsageError: it is none of these, or `exclude` and `include` are both given.
    """
    if exclude and include:
        raise UsageError("wandb.init: give config_exclude_keys or config_include_keys, not both.")
    found = _mapping_of(given)
    if include:
        return {key: value for key, value in found.items() if key in set(include)}
    left_out = set(exclude or ())
    return {key: value for key, value in found.items() if key not in left_out}


def _mapping_of(given: Any) -> dict[Any, Any]:
    if given is None:
        return {}
    if isinstance(given, str):
        return _of_file(given)
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, ModuleType) and hasattr(given, "FLAGS"):  # absl.flags
        given = given.FLAGS
    if type(given).__module__ == "absl.flags._flagvalues":
        return dict(given.flag_values_dict())
    if hasattr(given, "__dict__"):
        return dict(vars(given))
    try:
        return dict(given)
    except (TypeError, ValueError):
        raise UsageError(
            f"wandb.config takes a dict, a Namespace or an object, not {type(given).__name__}."
        ) from None


def _of_file(path: str) -> dict[Any, Any]:
    """W&B's config files: YAML, each value under its key's `value`."""
    try:
        import yaml  # noqa: PLC0415 # not kelt's dependency, and only this needs it
    except ModuleNotFoundError:
        raise UsageError(f"wandb.config: to read {path!r}, pip install pyyaml.") from None
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 # as the script spells it
            loaded = yaml.safe_load(file) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"wandb.config: {path!r} cannot be read: {error}") from None
    loaded.pop("wandb_version", None)
    return {
        key: item["value"] if isinstance(item, dict) and "value" in item else item
        for key, item in loaded.items()
    }


class NotStarted:
    """`wandb.config` and `wandb.summary` before there is a run.

    Args:
        name: which.
    """

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, key: str) -> NoReturn:
        if key.startswith("_"):
            raise AttributeError(key)
        raise KeltError(f"You must call wandb.init() before {self._name}.{key}")

    def __setattr__(self, key: str, value: object) -> NoReturn:
        raise KeltError(f"You must call wandb.init() before {self._name}.{key}")

    def __getitem__(self, key: str) -> NoReturn:
        raise KeltError(f"You must call wandb.init() before {self._name}[{key!r}]")

    def __setitem__(self, key: str, value: object) -> NoReturn:
        raise KeltError(f"You must call wandb.init() before {self._name}[{key!r}]")
