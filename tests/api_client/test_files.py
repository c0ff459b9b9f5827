"""Files and artifacts of runs, read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from kelt.api_client import QueryError
from kelt.errors import RunNotFoundError, StorageError, UsageError

RUN = "/api/v1/runs/me/demo/i1"
ARTIFACT = """{"entity": "me", "project": "demo", "name": "data", "type": "dataset",
 "version": "v3", "aliases": ["latest"], "tags": [], "state": "COMMITTED", "digest": "d",
 "description": null, "metadata": {"k": 1}, "size_bytes": 5, "file_count": 2, "created_at": 1.0,
 "updated_at": 1.0, "ttl_s": null, "logged_by": null%s}"""


@pytest.fixture
def run(wire, api, run_json):
    wire.says("/api/v1/runs/-/demo/base", run_json)
    return api.run("demo/base")


def test_files_are_listed_page_by_page_and_fetched(wire, run, tmp_path):
    page = ", ".join(f'{{"path": "d/{n}.txt", "size_bytes": 1}}' for n in range(1000))
    pages = {"0": f'{{"files": [{page}]}}', "1000": '{"files": [{"path": "e", "size_bytes": 2}]}'}
    wire.decides(f"{RUN}/files", lambda query: (200, pages[query["offset"][0]].encode()))
    wire.says(f"{RUN}/files/d/7.txt", "x")
    files = run.files()
    assert (len(files), files[-1].name, files[-1].size_bytes) == (1001, "e", 2)
    fetched = files[7].download(tmp_path)
    assert fetched == tmp_path / "d" / "7.txt"
    assert fetched.read_text() == "x"
    with pytest.raises(RunNotFoundError):
        files[8].download(tmp_path)
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["7.txt"]


def test_artifacts_are_listed_and_fetched(wire, run, tmp_path):
    wire.says(f"{RUN}/artifacts", f'{{"logged": [{ARTIFACT % ""}], "used": []}}')
    files = """, "files": [{"path": "a b.txt", "size_bytes": 5, "digest": "d", "ref": null},
      {"path": "far", "size_bytes": 0, "digest": "s3://far", "ref": "s3://far"}]"""
    wire.says("/api/v1/artifacts/me/demo/data%3Av3", ARTIFACT % files)
    wire.says("/api/v1/artifacts/me/demo/data%3Av3/files/a%20b.txt", "hello")
    (artifact,) = run.logged_artifacts()
    assert run.used_artifacts() == []
    assert (artifact.name, artifact.type, artifact.aliases) == ("data:v3", "dataset", ["latest"])
    assert (artifact.metadata, artifact.size_bytes) == ({"k": 1}, 5)
    root = Path(artifact.download(tmp_path / "there"))
    assert [(path.name, path.read_text()) for path in root.iterdir()] == [("a b.txt", "hello")]
    with pytest.raises(QueryError, match="s3://far"):
        artifact.files()[1].download(tmp_path)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
def test_no_path_leads_out_of_the_folder(wire, run, tmp_path, path):
    wire.says(f"{RUN}/files", f'{{"files": [{{"path": "{path}", "size_bytes": 1}}]}}')
    with pytest.raises(StorageError, match="leads out"):
        run.files()[0].download(tmp_path / "root")


def test_a_folder_is_compared_with_a_version_and_made_to_be_it(wire, api, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = """, "files": [{"path": "d/a.txt", "size_bytes": 5, "ref": null,
      "digest": "XUFAKrxLKna5cZ2REBfFkg=="}]"""  # of "hello"
    wire.says("/api/v1/artifacts/-/demo/data%3Av3", ARTIFACT % files)
    wire.says("/api/v1/artifacts/me/demo/data%3Av3", ARTIFACT % files)
    wire.says("/api/v1/artifacts/me/demo/data%3Av3/files/d/a.txt", "hello")
    artifact = api.artifact("demo/data:v3")
    with pytest.raises(UsageError, match="is not what data:v3 has"):
        artifact.verify()
    assert artifact.get_entry("d/a.txt").download() == tmp_path / "artifacts/data:v3/d/a.txt"
    artifact.verify()
    Path("artifacts/data:v3/other").write_text("x")
    with pytest.raises(UsageError, match=r"other is not in data:v3"):
        artifact.verify()
    assert artifact.checkout("artifacts/data:v3") == "artifacts/data:v3"
    artifact.verify()
    assert artifact.get("nothing") is None
    with pytest.raises(KeyError, match="nothing"):
        artifact.get_entry("nothing")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_checkout_without_a_root_empties_no_other_folder(wire, api, name):
    named = (ARTIFACT % "").replace('"data"', f'"{name}"')
    wire.says(f"/api/v1/artifacts/-/demo/{name}%3Av3", named)
    with pytest.raises(QueryError, match="a root of its own"):
        api.artifact(f"demo/{name}:v3").checkout()
