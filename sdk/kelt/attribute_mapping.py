"""Mappings whose values are attributes, too: `run.config.lr`, `run.summary.best`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import MutableMapping
from typing import Any


class AttributeMapping(MutableMapping[str, Any]):
    """Names that begin with an underscore are the object's own, and reached as items alone."""

    @abstractmethod
    def _no_value(self, name: str) -> str:
        """Says that there is no value of this name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(self._no_value(name)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            super().__delattr__(name)
        else:
            del self[name]
