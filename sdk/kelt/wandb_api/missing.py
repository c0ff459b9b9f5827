"""What kelt lacks of wandb: it can be imported, and raises when it is called.

A script goes on to rely on what these calls give, so that going on would lose what it believes to
be kept. Who knows better says so (`kelt run --lenient`): then each says once that it did nothing,
and gives an object that takes whatever is done with it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kelt.errors import KeltError
from kelt.wandb_api.terminal import CONSOLE

if TYPE_CHECKING:
    from typing_extensions import Self

#: Set to 1 by `kelt run --lenient`.
LENIENT = "KELT_WANDB_LENIENT"

_INSTEAD = {
    "link_artifact": "give the version an alias.",
    "link_model": "give the version an alias.",
    "agent": "start the trials yourself and give each its config.",
    "sweep": "start the trials yourself and give each its config.",
    "login": "give the server's key as KELT_API_KEY.",
}


class NotInKeltError(KeltError, NotImplementedError):
    """A part of wandb that kelt does not have was used."""


def not_in_kelt(name: str) -> NotInKeltError:
    """The error for a name such as `wandb.sweep`."""
    instead = _INSTEAD.get(name.rpartition(".")[2], "leave the call out.")
    return NotInKeltError(
        f"kelt: {name} is not part of kelt; {instead} `kelt run --lenient` goes on without it; "
        "docs/from-wandb.md lists what kelt has."
    )


class Inert:
    """Takes whatever is done with it, and does nothing."""

    def __call__(self, *_args: Any, **_named: Any) -> Inert:
        """Gives itself, as everything here does."""
        return self

    def __getattr__(self, name: str) -> Inert:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __setattr__(self, name: str, value: object) -> None:
        """Keeps nothing."""

    def __getitem__(self, key: object) -> Inert:
        return self

    def __setitem__(self, key: object, value: object) -> None:
        """Keeps nothing."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to close."""


def used(name: str) -> Inert:
    """Answers a call of what kelt lacks.

    Raises:
        NotInKeltError: unless the user wants to go on all the same.
    """
    error = not_in_kelt(name)
    if os.environ.get(LENIENT, "") in {"", "0"}:
        raise error
    CONSOLE.warn_once(name, f"{name} is not part of kelt and did nothing (said once)")
    return Inert()


class MissingType(type):
    """The type of what is missing: importable, usable in annotations and as a base."""

    wandb_name: str

    def __call__(cls, *_args: Any, **_named: Any) -> Any:
        """Answers under wandb's name, also for a subclass."""
        return used(cls.wandb_name)

    def __getattr__(cls, name: str) -> MissingType:
        """Gives what it would hold, as missing as itself."""
        if name.startswith("__"):
            raise AttributeError(name)
        return missing(f"{cls.wandb_name}.{name}")

    def __repr__(cls) -> str:
        return f"<{cls.wandb_name}, which kelt does not have>"


@functools.cache
def missing(name: str) -> MissingType:
    """What stands for a name of wandb's that kelt lacks."""
    return MissingType(name.rpartition(".")[2], (), {"wandb_name": name, "__module__": __name__})


def missing_method(name: str) -> Any:
    """A method that kelt lacks."""

    def method(_self: Any, *_args: Any, **_named: Any) -> Any:
        return used(name)

    method.__doc__ = "Not part of kelt: see `used`."
    return method
