"""Event files that real writers made (made_by/README.md)."""

import json
import math
import shutil
import struct
from pathlib import Path

import pytest

from harness.foreign_reading import history, sources, taken_over
from harness.wandb_reading import items_of, of_kind
from kelt.other_trackers.finding import find_sources
from kelt.other_trackers.foreign_run import ForeignRunError, Tally, Target
from kelt.other_trackers.tensorboard.event_records import EventTranslator
from kelt_proto.tensorboard.event_pb2 import Event, Metadata, Summary
from kelt_proto.v1.frames import Kind

FOLDER = Path(__file__).parent / "made_by" / "tensorboard"
ROWS = 20


def single(number):
    """As a float of four bytes keeps it."""
    return struct.unpack("<f", struct.pack("<f", number))[0]


def run(name, path=FOLDER):
    (source,) = sources(path)[name]
    return taken_over(source)


def test_each_folder_is_a_run_named_by_its_place():
    assert set(sources(FOLDER)) == {
        "torch", "purged", "hparams", "hparams/sub", "keras/train", "keras/validation",
    }  # fmt: skip
    (source,) = sources(FOLDER)["keras/train"]
    found = source.run(0)
    assert (found.run_id, found.group, found.project) == ("keras.train", "keras", "tensorboard")
    assert set(sources(FOLDER / "keras")) == {"train", "validation"}
    assert sources(FOLDER / "keras")["train"][0].run(0).writer_id == found.writer_id


def test_what_pytorchs_writer_logs_becomes_rows_of_the_same_steps():
    found, records = run("torch")
    rows = history(records)
    for step in range(ROWS):
        assert rows[step]["loss"] == single(1 / (step + 3))
        assert rows[step]["acc/train"] == step % 7
    assert math.isnan(rows[3]["nan"])
    assert rows[3]["inf"] == -math.inf
    assert rows[5]["remark"] == "so far *so good*"
    assert [rows[step]["uncounted"] for step in range(3)] == [0.5] * 3
    times = [row.header.timestamp for row in of_kind(records, Kind.ROW) if "loss" in row.values]
    assert times == [1.7e9 + step + 0.5 for step in range(ROWS)]  # of the step's last value
    assert rows[5]["weights"]["_type"] == "histogram"
    assert sum(rows[5]["weights"]["values"]) == 10
    assert (rows[5]["weights"]["bins"][0], rows[5]["weights"]["bins"][-1]) == (0, 9)
    assert found.tally.note == "not carried over: 1 image"
    assert (found.tally.state, found.tally.lost_rows) == ("finished", 0)


def test_what_tensorflow_and_keras_log_is_read_from_their_tensors():
    found, records = run("keras/train")
    rows = history(records)
    assert [rows[step]["epoch_loss"] for step in range(ROWS)] == [
        single(1 / (step + 3)) for step in range(ROWS)
    ]
    assert [rows[step]["whole"] for step in range(ROWS)] == list(range(ROWS))
    assert (rows[1]["note"], rows[1]["notes"]) == ("a text", ["a", "b"])
    assert items_of(records, Kind.CONFIG) == {
        "units": "16", "dropout": "0.25", "optimizer": '"sgd"',
    }  # fmt: skip
    assert sum(rows[1]["kernel"]["values"]) == 10
    assert (rows[1]["kernel"]["bins"][0], rows[1]["kernel"]["bins"][-1]) == (0, 9)
    assert found.tally.note == "not carried over: 1 image"


def test_hyper_parameters_are_config():
    _, records = run("hparams/sub")
    config = {key: json.loads(text) for key, text in items_of(records, Kind.CONFIG).items()}
    assert config == {"lr": 0.1, "batch": 32, "opt": "adam", "flag": True}
    assert history(records)[0]["final"] == single(0.9)


def test_a_writer_that_voids_what_came_before_rewinds_the_run():
    first, second = sources(FOLDER)["purged"]
    before, after = first.run(0), second.run(0)
    assert before.rewound is None
    assert (after.rewound.branch_id, after.rewound.step) == (before.branch_id, 5)
    assert after.branch_id != before.branch_id
    assert history(taken_over(second)[1]) == {6: {"x": 106}, 7: {"x": 107}, 8: {"x": 108}}


def test_a_second_writer_goes_on_with_the_run(tmp_path):
    (file,) = (FOLDER / "torch").iterdir()
    (tmp_path / "events.out.tfevents.1.a").touch()  # killed before its first flush
    shutil.copy(file, tmp_path / "events.out.tfevents.2.a")
    shutil.copy(file, tmp_path / "events.out.tfevents.3.a")
    empty, first, second = find(tmp_path)
    with pytest.raises(ForeignRunError, match="nothing reached the disk"):
        empty.run(0)
    before, after = first.run(0), second.run(0)
    assert after.branch_id == before.branch_id
    assert after.writer_id != before.writer_id
    assert (before.is_going_on, after.is_going_on) == (False, True)


def test_a_record_that_is_damaged_costs_itself_and_is_told(tmp_path):
    (file,) = (FOLDER / "torch").iterdir()
    raw = bytearray(file.read_bytes())
    at = raw.index(b"acc/train") + 2  # in the first of these values
    raw[at] ^= 0xFF
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / file.name).write_bytes(raw)
    found, records = run("torch", tmp_path)
    intact = history(run("torch")[1])
    del intact[0]["acc/train"]
    assert repr(history(records)) == repr(intact)
    (loss,) = of_kind(records, Kind.LOSS)
    assert (loss.rows, found.tally.lost_rows) == (1, 1)
    assert "of TensorBoard's file are damaged" in loss.reason


def test_a_damaged_end_is_told_and_a_torn_one_waits(tmp_path):
    (file,) = (FOLDER / "torch").iterdir()
    raw = file.read_bytes()
    (tmp_path / "torch").mkdir()
    path = tmp_path / "torch" / file.name
    path.write_bytes(raw[:-5])
    tally = run("torch", tmp_path)[0].tally
    assert (tally.lost_rows, "are no whole record" in tally.note) == (0, True)
    path.write_bytes(raw + bytes(100))
    tally = run("torch", tmp_path)[0].tally
    assert (tally.lost_rows, "at the end of TensorBoard's file are damaged" in tally.damage) == (
        1,
        True,
    )


def test_a_file_that_is_named_is_what_it_is_in_its_folder():
    first, second = sources(FOLDER)["purged"]
    ((alone,),) = sources(second.path).values()
    assert (alone.path, alone.run(0)) == (second.path, second.run(0))
    assert first.path != second.path


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 is something else entirely"])
def test_what_is_no_event_file_is_refused_by_name(tmp_path, raw):
    path = tmp_path / "events.out.tfevents.1.a"
    path.write_bytes(raw)
    (source,) = find(tmp_path)
    with pytest.raises(ValueError, match=r"tfevents\.1\.a"):
        source.run(0)


def find(path):
    return find_sources(path, Target())


def test_what_plugins_keep_beside_the_events_is_counted_once_a_run(tmp_path):
    folder = tmp_path / "purged"
    shutil.copytree(FOLDER / "purged", folder)
    profile = folder / "plugins" / "profile" / "2026"
    profile.mkdir(parents=True)
    for name in ("a.xplane.pb", "b.xplane.pb"):
        (profile / name).touch()
    found = [taken_over(source)[0].tally for source in sources(tmp_path)["purged"]]
    assert [tally.not_carried["file of a plugin"] for tally in found] == [2, 0]
    assert "not carried over: 2 files of a plugin" in found[0].note


def test_descriptions_and_log_messages_are_counted():
    (source,) = sources(FOLDER)["torch"]
    tally = Tally()
    translator = EventTranslator(source.run(0), tally)
    described = Metadata(summary_description=b"what it is")
    value = Summary.Value(tag="x", simple_value=1, metadata=described)
    for event in (Event(summary=Summary(value=[value])), Event(log_message=b"\x12\x02hi")):
        list(translator.take(event.SerializeToString()))
    assert tally.note == "not carried over: 1 description of a metric, 1 log message"
