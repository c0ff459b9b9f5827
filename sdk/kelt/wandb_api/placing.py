"""Where `import wandb` finds kelt: a folder in front of what PYTHONPATH names."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from types import ModuleType

from kelt.errors import UsageError

FOLDER = Path(__file__).parent / "on_path"
_VARIABLE = "PYTHONPATH"


def python_path(environ: Mapping[str, str]) -> str:
    """The PYTHONPATH with the folder in front, once."""
    before = [part for part in environ.get(_VARIABLE, "").split(os.pathsep) if part]
    return os.pathsep.join([str(FOLDER), *(part for part in before if part != str(FOLDER))])


def answer_imports(
    path: list[str], environ: MutableMapping[str, str], modules: Mapping[str, ModuleType]
) -> None:
    """Answers imports of wandb from now on, in this process and in those that it starts.

    Args:
        path: what this process looks into: `sys.path`.
        environ: what its children inherit: `os.environ`.
        modules: what is imported already: `sys.modules`.

    Raises:
        UsageError: the real wandb is there already.
    """
    wandb = modules.get("wandb")
    if wandb is not None and not _is_ours(wandb):
        raise UsageError(
            "kelt.as_wandb: wandb itself is imported already; write `import kelt.as_wandb` before "
            "whatever imports wandb, or start the script with `kelt run`."
        )
    if str(FOLDER) in path:
        path.remove(str(FOLDER))
    path.insert(0, str(FOLDER))
    environ[_VARIABLE] = python_path(environ)


def _is_ours(module: ModuleType) -> bool:
    return str(getattr(module, "__file__", "")).startswith(str(FOLDER))
