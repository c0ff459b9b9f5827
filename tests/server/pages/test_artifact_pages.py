"""The pages of artifacts, on a real library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from server.artifacts.shelves import Shelf, manifest_of
from server.stand import Stand, gate_of
from server.test_read_api import Client, api_of

from kelt_server.api.app import build_app
from kelt_server.pages import artifact_pages
from kelt_server.pages.artifact_pages import ArtifactPages

PAGE = "/e/p/artifacts/dataset/data"


@pytest.fixture
def shelf(stand: Stand, tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, stand.stores.catalog.engine)


@pytest.fixture
def client(stand: Stand, shelf: Shelf) -> Client:
    pages = ArtifactPages(shelf.library).routes()
    return Client(build_app(api_routes=api_of(stand).routes(), page_routes=pages, gate=gate_of()))


def test_a_version_s_page_has_all_that_is_known_of_it(client: Client, shelf: Shelf) -> None:
    files = {"a b.txt": b"a", "d/<script>.bin": b"b" * 2048}
    first = shelf.log(
        files, metadata=json.dumps({"classes": 10, "nan": "<b>"}), description="two\nlines",
        aliases=("best",), tags=("clean",),
    )  # fmt: skip
    shelf.log(files, logged_by=("e", "p", "again"))  # the same content: no version
    shelf.log({"a b.txt": b"c"}, logged_by=("e", "p", "r2"))
    shelf.library.use(first.id, ("e", "p", "reader"), "")
    page = client.get(f"{PAGE}/v0")
    assert page.status_code == 200
    for shown in (
        "<h1>data:v0</h1>", ">best<", ">clean<", "two\nlines", first.digest, "2, 2.0 KiB", "classes",
        'href="/e/p/runs/r1"', 'href="/e/p/runs/again"', 'href="/e/p/runs/reader"',
        'href="/api/v1/artifacts/e/p/data%3Av0/files/a%20b.txt"', f'href="{PAGE}/v1"',
        'href="/e/p/runs/r2"', "run.use_artifact(&#x27;e/p/data:v0&#x27;)",
    ):  # fmt: skip
        assert shown in page.text, shown
    assert "<script" not in page.text
    assert "<b>" not in page.text
    latest = client.get(PAGE).text
    assert "<h1>data:v1</h1>" in latest
    assert "<h1>data:v0</h1>" in client.get(f"{PAGE}/best").text


def test_references_are_links_where_a_browser_can_follow_them(client: Client, shelf: Shelf) -> None:
    refs = {"x": "https://elsewhere.example/x", "y": "s3://bucket/y", "z": "javascript:alert(1)"}
    manifest = manifest_of({}, refs)
    begun = shelf.library.begin(shelf.new(manifest.digest())).artifact
    shelf.put_manifest(begun.id, manifest)
    shelf.library.commit(begun.id)
    page = client.get(PAGE).text
    assert 'href="https://elsewhere.example/x" rel="noreferrer"' in page
    assert "s3://bucket/y" in page
    assert "javascript:alert(1)" in page
    assert 'href="s3' not in page
    assert 'href="javascript' not in page


def test_a_project_s_artifacts_are_listed_by_type_and_found_by_name(
    client: Client, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_pages, "_COLLECTIONS_SHOWN", 2)
    empty = client.get("/e/p/artifacts")
    assert (empty.status_code, "No artifact of this project is here" in empty.text) == (200, True)
    for number in range(3):
        shelf.log({"x": b"x"}, name=f"set-{number:03}")
    shelf.log({"x": b"m"}, name="best_net", type="model")
    deleted = shelf.log({"x": b"m"}, name="gone", type="model")
    shelf.library.delete(deleted.id, with_aliases=True)
    page = client.get("/e/p/artifacts").text
    assert 'href="/e/p/artifacts/dataset/set-000/v0"' in page
    assert "1 to 2 of 5 artifacts" in page
    rest = client.get("/e/p/artifacts", {"artifacts_from": "2"}).text
    assert 'href="/e/p/artifacts/model/best_net"' in rest
    assert 'href="/e/p/artifacts/model/gone"' not in rest  # none of its versions is left
    found = client.get("/e/p/artifacts", {"artifacts": "T_N"}).text
    assert "best_net" in found
    assert "set-" not in found
    assert "contains &#x27;%&#x27;" in client.get("/e/p/artifacts", {"artifacts": "%"}).text


@pytest.mark.parametrize("path", [f"{PAGE}/v7", f"{PAGE}/%00", "/e/p/artifacts/x/none"])
def test_what_is_not_there_gets_a_page_that_says_so(
    client: Client, shelf: Shelf, path: str
) -> None:
    shelf.log({"x": b"x"})
    missing = client.get(path)
    assert (missing.status_code, missing.headers["content-type"][:9]) == (404, "text/html")
    assert "there is no artifact" in missing.text
    assert 'href="/e/p"' in missing.text
