"""Reading spools back by plain means."""

from kelt.journal.reader import Damage, read_spool
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import decode_row, decode_schema

WRITER = bytes(range(16))


def read_rows(folder):
    """(seq, step, values) of every row in a spool that can be read."""
    schemas, rows = {}, []
    for item in read_spool(folder):
        if isinstance(item, Damage):
            continue
        if item.kind == Kind.SCHEMA:
            schema = decode_schema(item.payload)
            schemas[schema.schema_id] = schema
        elif item.kind == Kind.ROW:
            row = decode_row(item.payload, schemas)
            rows.append((item.seq, row.header.step, row.values))
    return rows
