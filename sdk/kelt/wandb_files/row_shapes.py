"""What rows of the same names and kinds have in common. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable

from kelt_proto.v1.rows import ColumnKind, Schema


class RowShape:
    """A schema, and how its rows are packed.

    Attributes:
        schema: of the rows.
        is_inline: each row carries it.
        pack: schema id, flags, step, timestamp, runtime and the values into a payload; None where
            the row codec must do it.
    """

    __slots__ = ("is_inline", "pack", "schema")

    def __init__(self, schema: Schema, *, is_inline: bool) -> None:
        self.schema = schema
        self.is_inline = is_inline
        self.pack: Callable[..., bytes] | None = None
        if not (schema.has_tail or is_inline or ColumnKind.NONE in schema.kinds):
            self.pack = struct.Struct("<IIqdd" + schema.slots.format.removeprefix("<")).pack
