"""What runs can be exported as (described by the package)."""

from __future__ import annotations

from enum import Enum


class ExportFormat(str, Enum):
    """What comes out."""

    WANDB = "wandb"
    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"
