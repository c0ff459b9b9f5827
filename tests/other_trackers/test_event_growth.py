"""An event file is synced again and again while it grows: nothing is lost, doubled or made up."""

from hypothesis import given
from hypothesis import strategies as st

from harness.wandb_reading import MESSAGES
from kelt.other_trackers.foreign_run import ForeignRun, Tally
from kelt.other_trackers.tensorboard.event_records import EventTranslator
from kelt_proto.tensorboard.event_pb2 import Event
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import decode_row

RUN = ForeignRun(
    writer_id=bytes(16), branch_id="b", entity="", project="p", run_id="r", name="r", started_at=0.0
)
#: (step, tags); without tags an event that has no row, with None one that is damaged.
EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), st.sets(st.sampled_from("abc"), max_size=2))),
    max_size=14,
)


def translated(events):
    """(kind, step, values) of each record, from number 2 on."""
    translator, schemas, found = EventTranslator(RUN, Tally()), {}, []
    made = [record for event in events for record in translator.take(event)]
    for record in [*made, *translator.finish()]:
        if hasattr(record, "kind"):
            MESSAGES[record.kind].FromString(record.payload)
            found.append((record.kind, None, {}))
            continue
        schemas[record.schema.schema_id] = record.schema
        row = decode_row(record.payload, schemas)
        found.append((Kind.ROW, row.header.step, row.values))
    return found


def taken(records, into):
    """As the server joins the rows of one writer: by step, the later number holds."""
    for kind, step, values in records:
        if kind == Kind.ROW:
            into.setdefault(step, {}).update(values)
    return into


@given(EVENTS, st.lists(st.integers(0, 14), max_size=3))
def test_every_cut_leads_to_the_same_history(drawn, cuts):
    events = []
    for number, (step, tags) in enumerate(drawn):
        values = [{"tag": tag, "simple_value": float(number)} for tag in sorted(tags or ())]
        event = Event(wall_time=1.0 + number, step=step, summary={"value": values})
        events.append(b"\xff\xff" if tags is None else event.SerializeToString())
    whole = translated(events)
    assert len(whole) == len(events)
    history, known = {}, 0
    for cut in [*sorted(cuts), len(events)]:
        records = translated(events[:cut])
        assert len(records) == min(cut, len(events))
        taken(records[known:], history)
        known = max(known, len(records))
    assert history == taken(whole, {})
    assert sum(kind == Kind.LOSS for kind, _, _ in whole) == sum(t is None for _, t in drawn)
