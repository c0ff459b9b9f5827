"""What kelt lacks of wandb: it can be imported, and says so when it is called."""

from __future__ import annotations

import functools
from typing import Any

from kelt.errors import KeltError

_GUIDE = "docs/from-wandb.md lists what kelt has."
_INSTEAD = {
    "Artifact": "save the file yourself and log its path, or log artifacts with wandb itself.",
    "agent": "start the trials yourself and give each its config.",
    "sweep": "start the trials yourself and give each its config.",
    "login": "give the server's key as KELT_API_KEY.",
}
for _name in ("log_artifact", "use_artifact", "log_model", "use_model", "link_model"):
    _INSTEAD[_name] = _INSTEAD["Artifact"]


class NotInKeltError(KeltError, NotImplementedError):
    """A part of wandb that kelt does not have was used."""


def not_in_kelt(name: str) -> NotInKeltError:
    """The error for a name such as `wandb.Artifact`."""
    instead = _INSTEAD.get(name.rpartition(".")[2], "leave the call out.")
    return NotInKeltError(f"kelt: {name} is not part of kelt; {instead} {_GUIDE}")


class MissingType(type):
    """The type of what is missing: importable, usable in annotations and as a base."""

    wandb_name: str

    def __call__(cls, *_args: Any, **_named: Any) -> Any:
        """Says that it is missing, under wandb's name."""
        raise not_in_kelt(cls.wandb_name)

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
        raise not_in_kelt(name)

    method.__doc__ = "Not part of kelt: says so."
    return method
