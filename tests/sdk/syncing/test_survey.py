"""What waits in a run folder, counted from its files, beside what its writer knows it wrote."""

from __future__ import annotations

import json
import os
import random

import pytest

import kelt.local_history
import kelt.syncing.survey as surveying
from harness.in_process import make_folder
from harness.wandb_writer import WandbWriter
from kelt.journal.spool import InternedSchema
from kelt.local_history import read_records
from kelt.state_dir import StateDir
from kelt.syncing.survey import count, find_run_folders, survey
from kelt.wandb_files.importing import bring_in
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Exit, Loss, Rewind
from kelt_proto.v1.rows import FLAG_PARTIAL, ColumnKind, Schema

SCHEMA = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))


@pytest.fixture
def state_dir(tmp_path):
    state_dir = StateDir(tmp_path / "state")
    state_dir.create()
    return state_dir


def folder_in(state_dir, **changes):
    path = state_dir.runs / "r"
    return path, make_folder(path, "http://up", 0, ended=False, **changes)


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_counted_as_the_history_shows_them_whatever_the_steps(state_dir, seed):
    chance = random.Random(seed)
    path, spool = folder_in(state_dir)
    written, branch, step, committed = [], 0, 0, chance.randrange(150)
    for _ in range(300):
        what = chance.random()
        if what < 0.03:
            branch += 1
            spool.append_control(Kind.REWIND, Rewind(branch_id=str(branch)).SerializeToString())
            written.append(None)
            continue
        if what < 0.2:
            step = chance.randrange(400)
        elif what < 0.8:
            step += chance.choice([1, 1, 1, 7])
        spool.append_row(SCHEMA, FLAG_PARTIAL if what > 0.9 else 0, step, 0.0, 0.0, (1.0,))
        written.append((branch, step))
    spool.close()
    seen, rows = set(), 0
    for seq, row in enumerate(written, start=1):
        rows += row is not None and row not in seen and seq > committed
        seen.add(row)
    found = count(path, after_seq=committed, through_seq=10**9)
    assert (found.records, found.rows, found.lost_rows) == (300 - committed, rows, 0)
    assert survey(path, state_dir=state_dir).waiting == count(path, after_seq=0, through_seq=10**9)


def test_numbers_that_hold_nothing_are_no_loss_and_no_reason_to_read_again(
    state_dir, tmp_path, monkeypatch
):
    source = tmp_path / "offline-run-r1" / "run-r1.wandb"
    source.parent.mkdir()
    with source.open("wb") as out:
        writer = WandbWriter(out)
        writer.begin()
        for step in range(20):
            writer.add(stats={})  # of which kelt takes nothing
            writer.row(step, {"x": step})
        writer.end()
    path = bring_in(source, state_dir=state_dir, upstream="http://up")[0]
    records = list(read_records(path))
    assert sum(record.first_seq < record.seq for record in records) >= 20
    reads = []
    read = kelt.local_history.read_spool
    monkeypatch.setattr(
        kelt.local_history, "read_spool", lambda *a, **k: reads.append(1) or read(*a, **k)
    )
    for after_seq in range(records[-1].seq):
        rows = sum(record.kind == Kind.ROW and record.seq > after_seq for record in records)
        found = count(path, after_seq=after_seq, through_seq=10**9)
        assert (found.rows, found.lost_rows) == (rows, 0)
    assert len(reads) == records[-1].seq


def test_what_is_lost_is_said_and_what_the_hint_has_is_not_waiting(state_dir):
    path, spool = folder_in(state_dir, pid=0)
    for i in range(10):
        spool.append_row(SCHEMA, 0, i, 0.0, 0.0, (1.0,))
    loss = Loss(first_seq=11, last_seq=11, rows=7)
    spool.append_control(Kind.LOSS, loss.SerializeToString())
    spool.append_control(Kind.EXIT, Exit(exit_code=3).SerializeToString())
    spool.close()
    found = survey(path, state_dir=state_dir)
    assert (found.state, found.is_waiting, found.waiting.lost_rows) == ("failed", True, 7)
    writer = json.loads((path / "run.json").read_text())["writer_id"]
    hint = {"committed": {writer: 12}, "durable": {writer: 12}, "ended": None}
    (path / "cursors.json").write_text(json.dumps(hint))
    found = survey(path, state_dir=state_dir)
    assert (found.is_waiting, found.committed, found.waiting.records) == (False, 12, 0)
    moved = survey(path, state_dir=state_dir, upstream="http://other")
    assert (moved.is_waiting, moved.committed, moved.waiting.records) == (True, 0, 12)
    # The daemon's own word, such as how the run ended, waits as well.
    hint["durable"]["ab" * 16] = 1
    (path / "cursors.json").write_text(json.dumps(hint))
    assert survey(path, state_dir=state_dir).is_waiting


def test_a_copy_is_not_judged_and_its_hint_is_not_the_daemons_here(state_dir, tmp_path):
    path, spool = folder_in(state_dir)
    spool.append_row(SCHEMA, 0, 0, 0.0, 0.0, (1.0,))
    writer = json.loads((path / "run.json").read_text())["writer_id"]
    (path / "cursors.json").write_text(json.dumps({"committed": {writer: 1}, "ended": None}))
    assert survey(path, state_dir=state_dir).state == "running"
    assert survey(path, state_dir=state_dir).waiting.records == 0
    spool.close()
    copied = tmp_path / "copied"
    os.rename(path, copied)  # noqa: PTH104 # as a whole
    found = survey(copied, state_dir=state_dir)
    assert (found.state, found.waiting.records, found.committed) == ("unknown", 1, 0)


def test_a_folder_that_cannot_be_read_is_a_problem_in_a_sentence(state_dir):
    path = state_dir.runs / "broken"
    path.mkdir()
    (path / "run.json").write_text("{")
    found = surveying.survey_all(state_dir)
    assert [run.path for run in found] == [path]
    assert "cannot be read" in found[0].problem
    assert find_run_folders(state_dir.root) == [path]


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": "yesterday"},
        {"started_at": 10**400},
        {"writer_id": 5},
        {"branch_id": []},
        {"run_id": "\x1b[31mred"},
    ],
)
def test_a_manifest_with_values_of_another_kind_is_a_problem_of_its_folder_alone(
    state_dir, changes
):
    path, spool = folder_in(state_dir)
    spool.close()
    data = json.loads((path / "run.json").read_text())
    del data["crc32"]
    (path / "run.json").write_text(json.dumps(data | changes))
    problem = f"{path}/run.json holds values of the wrong kind. Mend or remove it."
    assert survey(path, state_dir=state_dir).problem == problem
