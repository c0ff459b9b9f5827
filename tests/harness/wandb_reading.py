"""What comes of a `.wandb` file, read back by plain means."""

from kelt.wandb_files.reading import read_wandb_file
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import decode_row

MESSAGES = {
    Kind.RUN_OPENED: record_pb2.RunOpened,
    Kind.CONFIG: record_pb2.Config,
    Kind.SUMMARY: record_pb2.Summary,
    Kind.METRIC_DEFINITION: record_pb2.MetricDefinition,
    Kind.RUN_INFO: record_pb2.RunInfo,
    Kind.EXIT: record_pb2.Exit,
    Kind.LOSS: record_pb2.Loss,
    Kind.CONSOLE: record_pb2.Console,
    Kind.SYSTEM: record_pb2.System,
}


def translated(path):
    """The content, and every record as (kind, message or row), in order from number 1."""
    found, schemas = [], {}

    def sink(_, record):
        if hasattr(record, "kind"):
            found.append((record.kind, MESSAGES[record.kind].FromString(record.payload)))
            return
        if record.schema is not None:
            schemas[record.schema.schema_id] = record.schema
        found.append((Kind.ROW, decode_row(record.payload, schemas)))

    content = read_wandb_file(path, sink)
    assert len(found) == content.records
    return content, found


def of_kind(found, kind):
    """The messages or rows of one kind."""
    return [message for each, message in found if each == kind]


def rows_of(found):
    """(step, values) of every row."""
    return [(row.header.step, row.values) for row in of_kind(found, Kind.ROW)]


def items_of(found, kind):
    """What a run's config or summary comes to: JSON by key, removed ones left out."""
    state = {}
    for message in of_kind(found, kind):
        for item in message.items:
            if item.removed:
                state.pop(item.key, None)
            else:
                state[item.key] = item.json
    return state
