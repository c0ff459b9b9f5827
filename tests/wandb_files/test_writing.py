"""Files that kelt writes as W&B would: kelt reads them back as they were (the real reader: test_export)."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.wandb_reading import items_of, of_kind, rows_of, translated
from kelt.wandb_files.log_blocks import BLOCK_BYTES, FILE_HEADER, LogReader
from kelt.wandb_files.log_writing import LogWriter
from kelt.wandb_files.writing import WrittenLine, WrittenParts, WrittenRun, file_records
from kelt_proto.v1.frames import Kind

SIZES = st.one_of(st.integers(1, 300), st.integers(BLOCK_BYTES - 40, 3 * BLOCK_BYTES))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in {"_step", "_timestamp", "_runtime"}
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20)
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))


def written(records):
    out = io.BytesIO()
    writer = LogWriter(out)
    for record in records:
        writer.add(record)
    return out.getvalue()


def run(**facts):
    plain = {
        "run_id": "r1", "project": "p", "name": "Nice", "notes": "a note", "group": "g",
        "job_type": "train", "tags": ("a", "b"), "host": "there", "started_at": 1_700_000_000.25,
        "runtime_s": 3.0, "config": {}, "summary": {}, "definitions": (), "exit_code": 0,
    }  # fmt: skip
    return WrittenRun(**plain | facts)


def row(step, values):
    return {"_step": step, "_timestamp": 1_700_000_001.5 + step, "_runtime": 1.0 + step} | values


def read_back(tmp_path, said, rows=(), **parts):
    path = tmp_path / "run-r1.wandb"
    path.write_bytes(written(file_records(said, WrittenParts(rows=rows, **parts))))
    return translated(path)


@given(st.lists(SIZES, max_size=12))
def test_records_of_all_sizes_are_read_as_they_were_written(sizes):
    records = [(bytes([number]) * size) for number, size in enumerate(sizes)]
    raw = written(records)
    reader = LogReader(io.BytesIO(raw))
    assert list(reader) == records
    assert (reader.end_bytes, reader.tail) == (len(raw), None)


@pytest.mark.parametrize("left", range(16))
def test_a_record_that_ends_close_to_a_blocks_end_disturbs_none_behind(left):
    first = bytes(BLOCK_BYTES - len(FILE_HEADER) - 7 - left)
    records = [first, b"second", b"third" * 9_000]
    assert list(LogReader(io.BytesIO(written(records)))) == records


@settings(deadline=None)  # it writes files
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=8))
def test_rows_come_back_with_their_types(tmp_path_factory, logged):
    rows = [row(step, values) for step, values in enumerate(logged)]
    content, found = read_back(tmp_path_factory.mktemp("file"), run(), rows)
    back = rows_of(found)
    assert [step for step, _ in back] == list(range(len(logged)))
    was_fraction = set()
    for (_, values), wanted in zip(back, logged, strict=True):
        assert values.keys() == wanted.keys()
        for name, value in wanted.items():
            was_fraction |= {name} if isinstance(value, float) else set()
            # The reader takes a metric that was a fraction once for one of fractions.
            is_promoted = name in was_fraction and type(value) is int and abs(value) <= 2**53
            expected = float(value) if is_promoted else value
            assert repr(values[name]) == repr(expected)
    assert content.rows == len(logged)


def test_what_is_known_of_the_run_comes_back(tmp_path):
    config = {"lr": 0.1, "net": {"depth": 3, "w": [1, float("inf")]}, "a.b": None}
    summary = {"loss": 0.5, "by.hand": "x", "nan": float("nan")}
    definitions = (
        {"name": "acc", "step_metric": "", "summary": "max", "goal": "minimize", "hidden": False},
        {"name": "top", "step_metric": "", "summary": "best", "goal": "maximize", "hidden": True},
        {"name": "v/*", "step_metric": "epoch", "summary": "last,min", "goal": "", "hidden": False},
    )
    said = run(config=config, summary=summary, definitions=definitions)
    content, found = read_back(tmp_path, said, [row(0, {"loss": 0.5, "acc": 1})])
    (opened,) = of_kind(found, Kind.RUN_OPENED)
    assert (opened.run_id, opened.project, opened.started_at) == ("r1", "p", 1_700_000_000.25)
    info = opened.info
    assert (info.name, info.notes, info.group, info.job_type, list(info.tags.values)) == (
        "Nice", "a note", "g", "train", ["a", "b"],
    )  # fmt: skip
    items = {key: json.loads(text) for key, text in items_of(found, Kind.CONFIG).items()}
    assert items == config
    by_hand = items_of(found, Kind.SUMMARY)
    assert by_hand == {"by.hand": '"x"', "nan": "NaN"}  # the other follows from the history
    back = of_kind(found, Kind.METRIC_DEFINITION)
    assert [(d.name, d.step_metric, d.summary, d.hidden) for d in back] == [
        ("acc", "", "max", False), ("top", "", "max", True), ("v/*", "epoch", "min,last", False),
    ]  # fmt: skip
    assert content.state == "finished"


@pytest.mark.parametrize(
    ("exit_code", "state"), [(0, "finished"), (1, "failed"), (None, "crashed")]
)
def test_a_run_ends_as_it_did(tmp_path, exit_code, state):
    assert read_back(tmp_path, run(exit_code=exit_code))[0].state == state


def test_lines_of_the_console_and_samples_of_the_machine_come_back(tmp_path):
    lines = [
        WrittenLine(text="\x1b[31mred\x1b[0m", is_error=True, at=1_700_000_001.5),
        WrittenLine(text="", is_error=False, at=0.0),
        WrittenLine(text="plain", is_error=False, at=1_700_000_003.0),
    ]
    samples = [{"_timestamp": 1_700_000_002.5, "_runtime": 2.25, "system.gpu.0": 0.5, "own": 1}]
    _, found = read_back(tmp_path, run(), console=lines, samples=samples, files=["a.txt"])
    back = [line for message in of_kind(found, Kind.CONSOLE) for line in message.lines]
    assert [(line.number, line.text, line.at) for line in back] == [
        (number, line.text, line.at) for number, line in enumerate(lines)
    ]
    assert [line.stream for line in back] == [1, 0, 0]
    ((sample,),) = [message.samples for message in of_kind(found, Kind.SYSTEM)]
    assert (sample.at, sample.runtime) == (1_700_000_002.5, 2.25)
    values = {item.key: item.json for item in sample.values}
    assert values == {"system.gpu.0": "0.5", "system.own": "1"}


def test_a_fork_may_name_its_parent(tmp_path):
    _, found = read_back(tmp_path, run(parent=("base", 7)), [row(8, {"x": 1})])
    (opened,) = of_kind(found, Kind.RUN_OPENED)
    assert (opened.forked.run_id, opened.forked.step) == ("base", 7)
    assert items_of(found, Kind.CONFIG) == {}


def test_files_of_other_versions_of_a_run_are_other_writers(tmp_path):
    ids = [read_back(tmp_path, run(version=v))[0].run.writer_id for v in ("1", "2", "1")]
    assert ids[0] == ids[2] != ids[1]


def test_texts_that_are_not_unicode_are_kept_as_far_as_the_format_can(tmp_path):
    _, found = read_back(tmp_path, run(notes="a\ud800"), [row(0, {"k\ud800": "v\ud800"})])
    assert rows_of(found) == [(0, {"k\\ud800": "v\ud800"})]
