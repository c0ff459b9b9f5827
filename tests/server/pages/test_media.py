"""What a run's page shows of media that wandb's clients logged."""

from __future__ import annotations

from pathlib import Path

import pytest
from server.wandb_api.doors import DoorStand, line
from server.wandb_api.web import Web

FILES = "/api/v1/runs/local/proj/run/files/"


def test_media_are_shown_where_their_files_are_there(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        web = Web(door, tmp_path)
        door.begin()
        values = {
            "img": {"_type": "image-file", "path": "media/a b.png", "caption": '"<x>'},
            "imgs": {"_type": "images/separated", "filenames": ["1.png", "gone.png"]},
            "sound": {"_type": "audio-file", "path": "s.wav"},
            "hist": {"_type": "histogram", "values": [1, 3, 2], "bins": [0.0, 1.0, 2.0, 3.5]},
            "table": {"_type": "table-file", "path": "t.table.json", "nrows": 2, "ncols": 3},
            "lost": {"_type": "image-file", "path": "lost.png"},
            "odd": {"_type": "image-file", "path": ["x"]},
            "odd list": {"_type": "images/separated", "filenames": [["x"], 1, {}]},
            "odd counts": {"_type": "histogram", "values": [10**400, {}], "bins": [1]},
        }
        door.post(door.lines(0, line(0, **values)))
        for name in ("media/a b.png", "1.png", "s.wav", "t.table.json"):
            web.client.put(web.address(name), content=b"content")
        page = web.client.get("/local/proj/runs/run")
    sources = [part.partition('"')[0] for part in page.text.split(' src="')[1:]]
    assert sources == [f"{FILES}media/a%20b.png", f"{FILES}1.png", f"{FILES}s.wav"]
    assert 'alt="&quot;&lt;x&gt;"' in page.text
    assert page.text.count("<rect") == 3
    assert "0 … 3.5" in page.text
    assert "2 rows" in page.text
    assert "lost.png&quot;" in page.text  # as it was logged
    assert "img-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.PNG", "image/png"),
        ("output.log", "text/plain; charset=utf-8"),
        ("page.html", "application/octet-stream"),
        ("drawn.svg", "application/octet-stream"),
        ("png", "application/octet-stream"),
    ],
)
def test_no_file_of_a_run_is_a_page_to_a_browser(tmp_path: Path, name: str, kind: str) -> None:
    with DoorStand.opened(tmp_path) as door:
        web = Web(door, tmp_path)
        door.begin()
        web.client.put(web.address(name), content=b"<script>")
        file = web.client.get(FILES + name)
    assert (file.content, file.headers["content-type"]) == (b"<script>", kind)
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["content-security-policy"] == "sandbox"
