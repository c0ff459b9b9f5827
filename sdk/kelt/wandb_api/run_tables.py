"""Tables of rows, whole, in artifacts: what wandb's client leaves beside a row that has a table.

`run.log({"t": table})` leaves a version of the artifact `run-<run id>-t` of the type `run_table`,
in which `wandb.Api().artifact("run-<run id>-t:latest").get("t")` finds it. Pure.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping
from typing import Any

from kelt.artifacts import Artifact
from kelt.wandb_api.carrying import carried_table
from kelt.wandb_api.media import Table

TYPE = "run_table"
_UNSAFE = re.compile(r"[^a-zA-Z0-9_\-.]+")


def split_tables(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, Table]]]:
    """A row in which tables are as rows have them, and the tables with their keys.

    Data frames are tables. A key in a nested dict is the inner one, as wandb's client has it.
    """
    row: dict[str, Any] = {}
    found: list[tuple[str, Table]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            row[key], inner = split_tables(value)
            found += inner
        elif isinstance(value, (list, tuple)):
            row[key] = [_carried(str(key), item, found) for item in value]
        else:
            row[key] = _carried(str(key), value, found)
    return row, found


def _carried(key: str, value: Any, found: list[tuple[str, Table]]) -> Any:
    if hasattr(value, "shape") and hasattr(value, "columns"):  # pandas'
        value = Table(dataframe=value)
    if not isinstance(value, Table):
        return value
    found.append((key, value))
    return carried_table(value)


def artifact_of(run_id: str, key: str, table: Table) -> Artifact:
    """What is logged of a table.

    Raises:
        UsageError: the key cannot be a path, or a cell cannot be in an artifact.
        StorageError: it cannot be kept on this host.
    """
    artifact = Artifact(_name(f"run-{run_id}-{key}"), TYPE)
    artifact.add(table, key)
    return artifact


def _name(name: str) -> str:
    """As wandb's client makes a name of one that cannot be: without its signs, with a checksum."""
    if (safe := _UNSAFE.sub("", name)) == name:
        return name
    checksum = zlib.crc32(name.encode()).to_bytes(4, "big")
    return f"{safe}-{base64.urlsafe_b64encode(checksum).decode().rstrip('=')}"
