from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from kelt.api_client import ConsoleLogLine, QueryError
from kelt.errors import RunNotFoundError, StorageError

OF_RUN = "/api/v1/runs/me/demo/i1"


@pytest.fixture
def run(wire, api, run_json):
    wire.says("/api/v1/runs/-/demo/base", run_json)
    return api.run("demo/base")


def line(number, text, **more):
    return {"number": number, "stream": "stdout", "at": 1.5, "text": text, "label": ""} | more


def test_lines_are_read_page_by_page(run, wire):
    pages = {
        None: {"lines": [line(0, "a"), line(1, "b", stream="stderr")], "next": "x"},
        "x": {"lines": [line(2, "c", at=None, label="rank_1")], "next": None},
    }

    def answer(query):
        page = pages[query.get("after", [None])[0]]
        return 200, json.dumps(page | {"last": "l", "total": 3, "dropped": 0}).encode()

    wire.decides(f"{OF_RUN}/console", answer)
    at = datetime(1970, 1, 1, 0, 0, 1, 500_000, timezone.utc)
    assert list(run.console_logs(per_page=2)) == [
        ConsoleLogLine(0, at, "", "", "a"),
        ConsoleLogLine(1, at, "error", "", "b"),
        ConsoleLogLine(2, None, "", "rank_1", "c"),
    ]
    first, second = wire.asked_for(f"{OF_RUN}/console")
    assert first == {"limit": ["2"]}
    assert second == {"limit": ["2"], "after": ["x"]}
    with pytest.raises(QueryError, match="per_page"):
        list(run.console_logs(per_page=0))


def test_system_samples_have_times_and_no_steps(run, wire):
    sample = {"step": 1500, "timestamp": 1.5, "runtime": 0.5, "values": {"system.cpu": 3.0}}
    wire.says(f"{OF_RUN}/history", json.dumps({"rows": [sample], "next": None}))
    whole = run.history(stream="system", pandas=False)
    assert whole == [{"_timestamp": 1.5, "_runtime": 0.5, "system.cpu": 3.0}]
    chosen = run.history(["system.cpu"], stream="system", pandas=False)
    assert chosen == [{"_timestamp": 1.5, "system.cpu": 3.0}]
    for query in wire.asked_for(f"{OF_RUN}/history"):
        assert query["stream"] == ["system"]
    with pytest.raises(QueryError, match="stream"):
        run.history(stream="sytem")


def files(wire, *names):
    said = [{"path": name, "size_bytes": 3, "sha256": "00", "changed_at": None} for name in names]
    wire.says(f"{OF_RUN}/files", json.dumps({"files": said}))


def test_a_file_is_written_under_its_name_and_replaced_only_if_asked(run, wire, tmp_path):
    files(wire, "a/b c.txt", "gone")
    wire.says(f"{OF_RUN}/files/a/b%20c.txt", "one")
    found, gone = run.files()
    path = found.download(tmp_path)
    assert (path, path.read_text()) == (tmp_path / "a" / "b c.txt", "one")
    wire.says(f"{OF_RUN}/files/a/b%20c.txt", "two")
    with pytest.raises(StorageError, match="replace=True"):
        found.download(tmp_path)
    assert found.download(tmp_path, replace=True).read_text() == "two"
    with pytest.raises(RunNotFoundError):
        gone.download(tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["b c.txt"]


@pytest.mark.parametrize("name", ["../out", "a/../../out"])
def test_no_name_leads_out_of_the_folder(run, wire, tmp_path, name):
    files(wire, name)
    (found,) = run.files()
    with pytest.raises(StorageError, match="leads out"):
        found.download(tmp_path / "root")
