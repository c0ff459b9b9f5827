"""Run folders made of `.wandb` files: the same each time, growing with the file."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.spools import read_rows
from harness.wandb_writer import WandbWriter
from kelt.journal import spool_files
from kelt.journal.reader import Damage, read_journal_segment, read_spool
from kelt.run_folder import WHOLE_NAME, read_manifest
from kelt.state_dir import StateDir
from kelt.wandb_files import importing
from kelt.wandb_files.importing import bring_in
from kelt.wandb_files.reading import read_wandb_file
from kelt_proto.v1.frames import Kind, iter_frames
from kelt_proto.v1.record_pb2 import Assertion, Loss

UPSTREAM = "http://127.0.0.1:1"


@pytest.fixture
def state_dir(tmp_path):
    return StateDir(tmp_path / "state")


@pytest.fixture
def elsewhere(tmp_path):
    return StateDir(tmp_path / "elsewhere")


class File:
    """A file of W&B's that can be written up to any row."""

    def __init__(self, folder, rows=300):
        self.folder = folder / "offline-run-20260101_000000-r1"
        self.folder.mkdir()
        self.path = self.folder / "run-r1.wandb"
        with self.path.open("wb") as out:
            writer = WandbWriter(out)
            writer.begin(config={"lr": 1})
            self.ends = [writer.row(step, {"x": step, "t": "y" * 500})[1] for step in range(rows)]
            writer.end()
        self.whole = self.path.read_bytes()

    def cut(self, size):
        self.path.write_bytes(self.whole[:size])


@pytest.fixture
def file(tmp_path):
    return File(tmp_path)


def brought(file, state_dir):
    return bring_in(file.path, state_dir=state_dir, upstream=UPSTREAM)[0]


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "wandb-source.json"}


def steps(folder):
    assert not [item for item in read_spool(folder) if isinstance(item, Damage)]
    rows = read_rows(folder)
    assert [values for _, _, values in rows] == [
        {"x": step, "t": "y" * 500} for step in range(len(rows))
    ]
    return len(rows)


def test_a_folder_that_takes_longer_is_there_with_its_first_segment(
    file, state_dir, elsewhere, monkeypatch
):
    monkeypatch.setattr(spool_files, "_SEGMENT_BYTES", 20_000)
    grown = []

    def look(folder):
        assert read_manifest(folder).upstream == UPSTREAM
        grown.append((steps(folder), (folder / WHOLE_NAME).exists()))

    folder, content = bring_in(file.path, state_dir=state_dir, upstream=UPSTREAM, on_begun=look)
    assert content.rows == 300
    assert grown == [(34, False)]
    assert contents(folder) == contents(brought(file, elsewhere))
    assert (folder / WHOLE_NAME).exists()


def test_a_folder_whose_making_was_killed_is_made_anew(file, state_dir, elsewhere, monkeypatch):
    monkeypatch.setattr(spool_files, "_SEGMENT_BYTES", 20_000)
    begun = []

    def kill(*_):
        if begun:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_in(
            file.path, state_dir=state_dir, upstream=UPSTREAM, observe=kill, on_begun=begun.append
        )
    assert steps(folder_in(state_dir)) == 34
    again = brought(file, state_dir)
    assert begun == [again]
    assert contents(again) == contents(brought(file, elsewhere))


def folder_in(state_dir):
    (folder,) = (state_dir.root / "imports").glob("wandb-*")
    return folder


def said_by_witness(folder):
    found = []
    for entry in read_journal_segment(folder / "journal-000001.kelt"):
        for frame in iter_frames(memoryview(bytes(entry.payload))):
            kind = Assertion if frame.kind == Kind.ASSERTION else Loss
            found.append(kind.FromString(bytes(frame.payload)))
    return found


def test_the_folder_is_a_run_folder_that_nobody_here_judges(file, state_dir):
    folder = brought(file, state_dir)
    manifest = read_manifest(folder)
    assert (manifest.project, manifest.run_id, manifest.upstream) == ("p", "r1", UPSTREAM)
    assert (manifest.hostname, manifest.machine_id, manifest.pid) == ("there", "wandb", 0)
    assert steps(folder) == 300
    assert not (folder / "journal-000001.kelt").exists()
    assert {p.name for p in folder.parent.iterdir()} == {"lock", folder.name}
    assert not list(state_dir.runs.iterdir())


def test_the_same_file_gives_the_same_bytes_anywhere(file, state_dir, elsewhere, tmp_path):
    first = brought(file, state_dir)
    copy = tmp_path / "copied.wandb"
    shutil.copy(file.path, copy)
    second, _ = bring_in(copy, state_dir=elsewhere, upstream=UPSTREAM)
    assert first.name == second.name
    assert contents(first) == contents(second)


def test_a_file_that_grows_continues_and_an_older_copy_takes_nothing_back(
    file, state_dir, monkeypatch
):
    monkeypatch.setattr(importing.SpoolFiles.__init__, "__kwdefaults__", {"segment_bytes": 20_000})
    file.cut(file.ends[99] + 5)
    folder = brought(file, state_dir)
    assert steps(folder) == 100
    before = contents(folder)
    file.cut(file.ends[199])
    assert brought(file, state_dir) == folder
    assert steps(folder) == 200
    file.path.write_bytes(file.whole)
    assert brought(file, state_dir) == folder
    after = contents(folder)
    assert steps(folder) == 300
    assert len(after) > len(before) > 3
    segments = sorted(name for name in before if name.startswith("spool"))
    assert all(after[name] == before[name] for name in segments[:-1])
    file.cut(file.ends[99])
    brought(file, state_dir)
    assert contents(folder) == after


def test_an_unchanged_file_is_not_translated_again(file, state_dir, monkeypatch):
    folder = brought(file, state_dir)
    monkeypatch.setattr(importing, "read_wandb_file", None)
    assert brought(file, state_dir) == folder


def test_two_at_once_make_one_folder(file, state_dir):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: brought(file, state_dir), range(2))
    assert first == second
    assert steps(first) == 300


def test_nothing_in_wandbs_folder_changes(file, state_dir):
    (file.folder / "run-r1.wandb.synced").touch()
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in file.folder.iterdir()}
    brought(file, state_dir)
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in file.folder.iterdir()}


def test_a_run_without_an_exit_crashed_by_the_word_of_a_witness(file, state_dir):
    file.cut(file.ends[99] + 5)
    (said,) = said_by_witness(brought(file, state_dir))
    assert said.state == Assertion.CRASHED
    assert "without an exit" in said.reason
    assert said.at == 1_700_000_099.5
    file.path.write_bytes(file.whole)
    assert not (brought(file, state_dir) / "journal-000001.kelt").exists()


def test_a_file_that_somebody_holds_open_goes_on(file, state_dir, tmp_path):
    import subprocess
    import sys

    file.cut(file.ends[99] + 5)
    script = "import sys; f = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, file.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        assert read_wandb_file(file.path).state == "running"
        folder = brought(file, state_dir)
        assert not (folder / "journal-000001.kelt").exists()
        writer.stdin.close()
    assert read_wandb_file(file.path).state == "crashed"
    brought(file, state_dir)
    assert said_by_witness(folder)


def test_damage_before_the_run_record_leaves_the_run_what_it_is(file, state_dir):
    folder = brought(file, state_dir)
    harmed = bytearray(file.whole)
    harmed[10] ^= 0xFF
    file.path.write_bytes(harmed)
    assert brought(file, state_dir) == folder
    assert steps(folder) == 300


def test_damage_at_the_end_is_told_by_the_witness(file, state_dir):
    harmed = bytearray(file.whole)
    harmed[file.ends[298] + 20] ^= 0xFF
    harmed[file.ends[299] + 8] ^= 0xFF
    file.path.write_bytes(harmed)
    said, lost = said_by_witness(brought(file, state_dir))
    assert said.state == Assertion.CRASHED
    assert "damaged" in lost.reason
    assert lost.rows == 0


def test_what_a_killed_one_left_is_swept(file, state_dir):
    left = state_dir.root / "imports" / ".staged-left"
    left.mkdir(parents=True)
    (left / "spool-000001.kelt").write_bytes(b"x")
    brought(file, state_dir)
    assert not left.exists()


def test_the_source_is_told_beside_the_records(file, state_dir):
    folder = brought(file, state_dir)
    said = json.loads((folder / "wandb-source.json").read_text())
    assert bytes.fromhex(said["path"]).decode() == str(file.path)
    assert (said["records"], said["lost_rows"]) == (303, 0)
