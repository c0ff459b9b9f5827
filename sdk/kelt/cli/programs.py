"""The other programs of the distribution, started with the arguments that they know themselves."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from kelt.cli.exit_codes import CliError

#: What the extras bring, by import name.
SERVER_MODULES = (
    "alembic", "duckdb", "graphql", "numpy", "pyarrow", "sqlalchemy", "starlette", "uvicorn",
)  # fmt: skip
DEMO_MODULES = (*SERVER_MODULES, "sklearn")


def require_extra(extra: str, modules: Sequence[str]) -> None:
    """Checks that an extra is installed.

    Raises:
        CliError: it is not; says how to install it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise CliError(
            f"`kelt {extra}` needs what is not installed here ({', '.join(missing)}). "
            f"Run: pip install 'kelt[{extra}]'"
        )


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by `python -m module`, which then has its terminal and its signals."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 # our own
