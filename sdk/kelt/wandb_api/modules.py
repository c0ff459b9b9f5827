"""The module `wandb` and its submodules, whose names are looked up when they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from kelt.wandb_api import names


class SubmoduleFinder(MetaPathFinder, Loader):
    """Gives `wandb.sdk` and the like; they have no files."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The spec of a module that wandb has, kelt's part of it or nothing in it."""
        del path, target
        if not names.is_submodule(fullname):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Has the module's names looked up."""
        _look_up(module)


def answer_package(package: ModuleType) -> None:
    """Makes a module the package `wandb`."""
    vars(package)["__version__"] = names.VERSION
    vars(package)["__all__"] = list(names.PUBLIC)
    _look_up(package)
    if not any(isinstance(finder, SubmoduleFinder) for finder in sys.meta_path):
        sys.meta_path.append(SubmoduleFinder())


def _look_up(module: ModuleType) -> None:
    vars(module)["__getattr__"] = partial(names.find, module.__name__)
    vars(module)["__dir__"] = partial(names.known, module.__name__)
