"""Console lines, system samples and files that come as records: kept once, bounded, and read back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server.stand import Stand, gate_of
from server.streams import Stream, json_items, simple_run, writer_id
from server.test_read_api import Client, api_of
from sqlalchemy import create_engine

from harness.amounts import amount
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_server import facts
from kelt_server.api.app import build_app
from kelt_server.api.files import FileApi
from kelt_server.artifacts import ArtifactLibrary
from kelt_server.catalog import console_lines
from kelt_server.catalog.tables import METADATA
from kelt_server.errors import NotFoundError, StoreError
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.ingest.output_records import LINE_CHARACTERS_MAX
from kelt_server.pages.pages import Pages
from kelt_server.storage_quota import StorageQuota
from kelt_server.uploads import UploadFolder

RUN = ("local", "proj", "run")
PATH = "/api/v1/runs/-/proj/run"


@pytest.fixture
def client(stand: Stand, tmp_path: Path) -> Client:
    quota = StorageQuota((tmp_path,), bytes_max=0, disk_free_bytes_min=0, counters=stand.counters)
    uploads = UploadFolder(tmp_path / "files", file_bytes_max=0, quota=quota)
    files = FileApi(
        reader=stand.reader,
        files=FilesOfRuns(uploads),
        library=cast("ArtifactLibrary", None),  # nothing asks for artifacts
    )
    routes = [*api_of(stand).routes(), *files.routes()]
    pages = Pages(stand.reader).routes()
    return Client(build_app(api_routes=routes, page_routes=pages, gate=gate_of()))


def console(written: Stream, *lines: tuple[int, str], **more: Any) -> int:
    said = [record_pb2.ConsoleLine(number=n, text=text, **more) for n, text in lines]
    return written.record(Kind.CONSOLE, record_pb2.Console(lines=said))


def system(stream: Stream, *samples: tuple[float, dict[str, Any]]) -> int:
    said = [record_pb2.SystemSample(at=at, values=json_items(values)) for at, values in samples]
    return stream.record(Kind.SYSTEM, record_pb2.System(samples=said))


def pieces(content: bytes, name: str, *, of: bytes, size: int = 4) -> list[record_pb2.FilePiece]:
    version = hashlib.sha256(content).digest()
    return [
        record_pb2.FilePiece(
            writer_id=of, name=name, version=version, size_bytes=len(content), offset_bytes=at,
            content=content[at : at + size],
        )
        for at in range(0, max(1, len(content)), size)
    ]  # fmt: skip


def texts(stand: Stand, run: str = "run") -> list[str]:
    page = stand.reader.consoles.page(("local", "proj", run), limit=10_000, after=None)
    return [found.line.text for found in page.lines]


def samples(client: Client, run: str = "run", **params: Any) -> list[tuple[int, Any]]:
    said = client.get(f"/api/v1/runs/-/proj/{run}/history", params={"stream": "system", **params})
    return [(row["step"], row["values"]) for row in said.json()["rows"]]


def test_a_page_of_the_console_goes_on_where_the_one_before_ended(
    stand: Stand, client: Client
) -> None:
    stream = simple_run()
    console(stream, *((n, f"line {n}") for n in range(7)), at=12.5, stream=1)
    console(stream, (6, "written over"), (7, ""))
    stand.push(stream.batches())
    found, after = [], {}
    while True:
        page = client.get(f"{PATH}/console", params={"limit": 3, **after}).json()
        found += page["lines"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert [line["text"] for line in found] == [
        *(f"line {n}" for n in range(6)), "written over", "",
    ]  # fmt: skip
    assert (found[0]["at"], found[0]["stream"]) == (12.5, "stderr")
    assert (found[7]["at"], found[7]["stream"]) == (None, "stdout")
    assert (page["total"], page["dropped"]) == (8, 0)
    console(stream, (7, "more"), (8, "end"))
    stand.push([stream.batch(stream.last_seq, stream.last_seq)])
    more = client.get(f"{PATH}/console", params={"begin": page["last"]}).json()
    assert [line["text"] for line in more["lines"]] == ["more", "end"]
    tail = client.get(f"{PATH}/console", params={"last": 2, "format": "arrow"})
    table = pa.ipc.open_stream(tail.content).read_all()
    assert table["text"].to_pylist() == ["more", "end"]
    assert json.loads(table.schema.metadata[b"kelt"])["total"] == 9
    assert client.get(f"{PATH}/console", params={"after": "nonsense"}).status_code == 400
    assert "written over" in client.get("/local/proj/runs/run").text


def test_sessions_follow_each_other_and_only_continuations_take_output_in(
    stand: Stand, client: Client
) -> None:
    first, fork, again = simple_run(1), Stream(writer_id(2)), Stream(writer_id(3))
    console(first, (0, "first"))
    system(first, (5.0, {"cpu": 1}))
    point = record_pb2.BranchPoint(project="proj", run_id="run", step=0)
    fork.opened("proj", "fork", "f", started_at=2000.0, forked=point)
    console(fork, (0, "forked"))
    resumed = record_pb2.Resumed(point_unknown=True, last_step=-1)
    again.opened("proj", "run", "c", started_at=3000.0, resumed=resumed)
    console(again, (0, "again"))
    system(again, (6.0, {"cpu": 2}))
    stand.push([*again.batches(), *fork.batches(), *first.batches()])
    assert (texts(stand), texts(stand, "fork")) == (["first", "again"], ["forked"])
    assert samples(client) == [(5000, {"cpu": 1}), (6000, {"cpu": 2})]
    assert samples(client, "fork") == []
    console(again, (1, "on"))
    again.rewind("r", at=4000.0, point=record_pb2.BranchPoint(branch_id="c", step=0))
    console(again, (0, "rewound"))
    stand.push([again.batch(4, again.last_seq)])
    assert (texts(stand), texts(stand, "c")) == (["rewound"], ["first", "again", "on"])


def test_a_console_keeps_its_newest_lines_and_counts_the_others(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_lines, "LINES_MAX", 10)
    monkeypatch.setattr(console_lines, "CHARACTERS_MAX", 100)
    stream = simple_run()
    for n in range(25):
        console(stream, (n, f"{n:02}"))
    stand.push(stream.batches(4))
    page = client.get(f"{PATH}/console").json()
    assert [line["text"] for line in page["lines"]] == [f"{n:02}" for n in range(15, 25)]
    assert (page["total"], page["dropped"]) == (10, 15)
    console(stream, (25, "x" * 90), (26, "y"))
    stand.push([stream.batch(stream.last_seq, stream.last_seq)])
    page = client.get(f"{PATH}/console").json()
    assert sum(len(line["text"]) for line in page["lines"]) <= 100
    assert [line["number"] for line in page["lines"]][-1] == 26
    assert page["total"] + page["dropped"] == 27


def test_lines_are_kept_as_every_database_takes_them(stand: Stand) -> None:
    stream = simple_run()
    console(stream, (0, "a\0b"), (1, "x" * (LINE_CHARACTERS_MAX + 5)), (2**64 - 1, "far"))
    stand.push(stream.batches())
    first, second, third = texts(stand)
    assert (first, third) == ("a\N{REPLACEMENT CHARACTER}b", "far")
    assert second.endswith("x… (5 characters more)")


def test_system_samples_are_no_rows_and_are_divided_by_time(stand: Stand, client: Client) -> None:
    stream = simple_run(row_count=2)
    before = stand.push(stream.batches()) and client.get(PATH).json()
    system(stream, (100.0, {"cpu": 1.5, "gpu.0.name": "x"}), (100.0, {"mem": 2}))
    system(stream, (101.5, {"cpu": 2.5}), (103.0, {"cpu": 4.5, "big": [1, None]}))
    stand.push([stream.batch(stream.last_seq - 1, stream.last_seq)])
    assert samples(client) == [
        (100_000, {"cpu": 1.5, "gpu.0.name": "x", "mem": 2}),
        (101_500, {"cpu": 2.5}),
        (103_000, {"cpu": 4.5, "big": [1, None]}),
    ]
    assert samples(client, key="mem") == [(100_000, {"mem": 2})]
    assert samples(client, samples=2)[1][0] == 103_000
    keys = client.get(f"{PATH}/keys", params={"stream": "system"}).json()["keys"]
    assert keys == ["big", "cpu", "gpu.0.name", "mem"]
    asked = {"stream": "system", "key": "cpu", "buckets": 3}
    found = client.get(f"{PATH}/buckets", params=asked).json()
    assert [bucket["mean"] for bucket in found["keys"]["cpu"]] == [1.5, 2.5, 4.5]
    after = client.get(PATH).json()
    for key in ("rows", "last_step", "summary", "losses"):
        assert after[key] == before[key], key
    assert client.get(f"{PATH}/history", params={"stream": "x"}).status_code == 400


def test_output_that_cannot_be_read_is_a_loss_and_the_rest_is_kept(stand: Stand) -> None:
    stream = simple_run()
    stream.record(Kind.CONSOLE, b"\xff\xff")
    stream.record(
        Kind.SYSTEM,
        record_pb2.System(
            samples=[record_pb2.SystemSample(at=1, values=[record_pb2.JsonItem(key="a", json="{")])]
        ),
    )
    for name in ("../up", "/root", "a//b", "a/./b", ""):
        (piece,) = pieces(b"x", name, of=b"")
        stream.record(Kind.FILE_PIECE, piece)
    console(stream, (0, "kept"))
    stand.push(stream.batches())
    assert texts(stand) == ["kept"]
    assert [loss["rows"] for loss in stand.run("run")["losses"]] == [1] * 7


def test_a_file_is_there_once_all_its_pieces_are_in_its_latest_version(
    stand: Stand, client: Client
) -> None:
    run, carrier = simple_run(1), Stream(writer_id(2))
    stand.push(run.batches())
    first, empty = pieces(b"0123456789", "a/b.txt", of=run.writer_id), pieces(b"", "e", of=b"")
    for piece in first:
        carrier.record(Kind.FILE_PIECE, piece)
    stand.push([carrier.batch(1, 2)])
    assert client.get(f"{PATH}/files").json() == {"files": [], "total": 0}
    stand.push([carrier.batch(1, 3)])
    (said,) = client.get(f"{PATH}/files").json()["files"]
    assert (said["path"], said["size_bytes"]) == ("a/b.txt", 10)
    assert said["sha256"] == hashlib.sha256(b"0123456789").hexdigest()
    assert client.get(f"{PATH}/files/a/b.txt").content == b"0123456789"
    for piece in pieces(b"another", "a/b.txt", of=run.writer_id):
        carrier.record(Kind.FILE_PIECE, piece)
    run.record(Kind.FILE_PIECE, empty[0])
    stand.push([carrier.batch(4, 5), run.batch(run.last_seq, run.last_seq)])
    assert client.get(f"{PATH}/files/a/b.txt").content == b"another"
    assert [file["path"] for file in client.get(f"{PATH}/files").json()["files"]] == [
        "a/b.txt", "e",
    ]  # fmt: skip
    assert client.get(f"{PATH}/files/e").content == b""
    assert client.get(f"{PATH}/files/c").status_code == 404
    # Whoever carries files is no run.
    assert [found["run_id"] for found in stand.reader.runs("local", "proj")] == ["run"]


def test_what_a_failed_commit_had_stored_is_taken_up_when_it_is_sent_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = simple_run()
    for piece in pieces(b"0123456789", "f", of=b""):
        stream.record(Kind.FILE_PIECE, piece)
    console(stream, (0, "one"))

    def refuse(*_: Any) -> None:
        raise StoreError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(stand.stores.catalog, "commit", refuse)
        with pytest.raises(StoreError):
            stand.push(stream.batches())
    with monkeypatch.context() as patched:
        patched.setattr(stand.stores.metrics, "commit", refuse)
        with pytest.raises(StoreError):
            stand.push(stream.batches())
    stand.push(stream.batches())
    assert texts(stand) == ["one"]
    _, content = stand.reader.files.content(RUN, "f")
    assert b"".join(content) == b"0123456789"
    with pytest.raises(NotFoundError):
        stand.reader.files.content(RUN, "g")
    objects = list(stand.stores.objects.path("ab").parent.parent.rglob("*"))
    assert sum(path.is_file() for path in objects) == 3


@settings(max_examples=amount(25, long=200), deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.text("ab", max_size=2)), min_size=1), max_size=8
    )
)
def test_a_console_is_the_newest_of_what_was_written_last(
    commits: list[list[tuple[int, str]]],
) -> None:
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    written: dict[int, str] = {}
    with engine.begin() as connection, mock.patch.object(console_lines, "LINES_MAX", 9):
        for commit in commits:
            said = [facts.ConsoleFact("b", b"w", 1, n, 0, 0.0, "", text) for n, text in commit]
            console_lines.store(connection, said)
            written |= dict(commit)
            kept = dict(sorted(written.items())[-9:])
            (said_of,) = console_lines.consoles(connection, ["b"])
            lines = console_lines.lines_after(connection, said_of, -1, 100)
            assert {line.number: line.text for line in lines} == kept
            assert said_of.lines == len(kept)
            assert said_of.characters == sum(map(len, kept.values()))
            assert said_of.end_number == max(written) + 1
    engine.dispose()
