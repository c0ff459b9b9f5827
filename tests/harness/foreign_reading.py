"""What comes of another tracker's run, read back by plain means."""

import tempfile
from pathlib import Path

from harness.wandb_reading import MESSAGES
from kelt.other_trackers.finding import find_sources
from kelt.other_trackers.folders import read_source
from kelt.other_trackers.foreign_run import Target
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import decode_row


def sources(path, **target):
    """The sources at a path, by the run that they are of; there are no errors."""
    found = {}
    for source in find_sources(Path(path), Target(**target)):
        assert not isinstance(source, Exception), source
        found.setdefault(source.run(0).name, []).append(source)
    return found


def taken_over(source):
    """What was found, and every record as (kind, message or row)."""
    records, schemas = [], {}

    def sink(_, record):
        if hasattr(record, "kind"):
            records.append((record.kind, MESSAGES[record.kind].FromString(record.payload)))
            return
        if record.schema is not None:
            schemas[record.schema.schema_id] = record.schema
        records.append((Kind.ROW, decode_row(record.payload, schemas)))

    with tempfile.TemporaryDirectory() as scratch:
        found = read_source(source, source.run(0), Path(scratch), sink)
    assert len(records) == found.records
    return found, records


def history(records):
    """{step: values} with the parts of rows joined; of a value that comes twice the later holds."""
    joined = {}
    for kind, row in records:
        if kind == Kind.ROW:
            joined.setdefault(row.header.step, {}).update(row.values)
    return joined
