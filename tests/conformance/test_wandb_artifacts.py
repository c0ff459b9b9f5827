"""Artifacts, tables, media and files of an unmodified wandb client."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import httpx
from conformance.conftest import Client, Kelt

from harness.amounts import long_only

API = "api = wandb.Api()\n"

LOG = """
def write(path, content):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    open(path, "w").write(content)

write("d/a.txt", "a")
write("d/sub/b.txt", "b" * 1000)
write("outside.bin", "outside")

r = wandb.init(id="r1")
first = wandb.Artifact("data", type="dataset", description="why", metadata={"k": [1, 2]})
first.add_dir("d")
first.add_reference("file://" + os.path.abspath("outside.bin"))
with first.new_file("made.txt") as made:
    made.write("made")
r.log_artifact(first, aliases=["best"]).wait()
second = wandb.Artifact("data", type="dataset")
second.add_dir("d")
r.log_artifact(second).wait()
r.finish()
said = {"first": [first.name, first.aliases, first.size, first.file_count, first.digest],
        "second": [second.name, second.aliases]}

r = wandb.init(id="r2")
used = r.use_artifact("data:best")
same = wandb.Artifact("data", type="dataset")
same.add_dir("d")
r.log_artifact(same, aliases=["again"]).wait()
draft = used.new_draft()
draft.add_file("outside.bin", name="new.bin")
draft.remove("a.txt")
r.log_artifact(draft).wait()
added = wandb.Artifact("data", type="dataset", incremental=True)
added.add_file("outside.bin", name="added.bin")
r.log_artifact(added).wait()
r.finish()
said |= {"same": [same.name, same.aliases], "draft": draft.name, "added": added.name}
"""

READ = """
api = wandb.Api()
art = api.artifact("p/data:v0", type="dataset")
root = art.download(root="whole")
one = art.get_entry("sub/b.txt").download(root="one")
newest = api.artifact("p/data:latest")
said |= {
    "url": art.url,
    "about": [art.description, dict(art.metadata), art.digest, art.state],
    "whole": {os.path.relpath(os.path.join(f, n), root): open(os.path.join(f, n)).read()
              for f, _, names in os.walk(root) for n in names},
    "one": open(one).read(),
    "newest": [newest.version, sorted(newest.manifest.entries), newest.digest],
    "computed": newest.manifest.digest(),
    "lineage": [[run.id for run in art.used_by()], art.logged_by().id],
    "of_runs": {run: [[a.name for a in api.run(f"p/{run}").logged_artifacts()],
                      [a.name for a in api.run(f"p/{run}").used_artifacts()]]
                for run in ("r1", "r2")},
    "types": [t.name for t in api.artifact_types("p")],
    "collections": [c.name for c in api.artifact_collections("p", "dataset")],
    "aliases": api.artifact_collection("dataset", "p/data").aliases,
    "versions": [[a.name, a.aliases] for a in api.artifacts("dataset", "p/data", per_page=2)],
    "files": [[f.name, f.size] for f in art.files(per_page=3)],
    "exists": [api.artifact_exists("p/data:v0"), api.artifact_exists("p/data:v9")],
}
"""

CHANGE = """
import datetime

art.aliases = ["mine"]
art.description = "because"
art.metadata["z"] = 1
art.tags = ["t"]
art.ttl = datetime.timedelta(days=2)
art.save()
art = wandb.Api().artifact("p/data:mine")
said |= {"changed": [art.version, art.aliases, art.description, art.metadata, art.tags,
                     art.ttl.days]}

def refusal(act):
    try:
        act()
    except Exception as error:
        return str(error)

latest = api.artifact("p/data:latest")
said["refused"] = [
    refusal(latest.delete),
    refusal(lambda: art.link("p/elsewhere")),
    refusal(lambda: wandb.Api().artifact("p/data:best")),
]
latest.delete(delete_aliases=True)
said["left"] = [[a.name, a.aliases] for a in wandb.Api().artifacts("dataset", "p/data")]
print(json.dumps(said))
"""


def test_versions_aliases_and_lineage(client: Client, kelt: Kelt) -> None:
    found = client.answer(LOG + READ + CHANGE)
    digest = found["first"].pop()
    assert found["first"] == ["data:v0", ["best", "latest"], 1 + 1000 + 7 + 4, 4]
    assert found["second"] == ["data:v1", ["latest"]]
    assert found["same"] == ["data:v1", ["again", "latest"]]
    assert (found["draft"], found["added"]) == ("data:v2", "data:v3")
    assert found["about"] == ["why", {"k": [1, 2]}, digest, "COMMITTED"]
    assert found["whole"] == {
        "a.txt": "a", "sub/b.txt": "b" * 1000, "outside.bin": "outside", "made.txt": "made",
    }  # fmt: skip
    assert found["one"] == "b" * 1000
    page = httpx.get(found["url"])  # the client prints it
    assert (page.status_code, "<h1>data:v0</h1>" in page.text) == (200, True)
    version, entries, digest = found["newest"]
    assert version == "v3"
    assert entries == ["added.bin", "made.txt", "new.bin", "outside.bin", "sub/b.txt"]
    assert digest == found["computed"]
    assert found["lineage"] == [["r2"], "r1"]
    assert found["of_runs"] == {
        "r1": [["data:v0", "data:v1"], []],
        "r2": [["data:v1", "data:v2", "data:v3"], ["data:v0"]],
    }
    assert (found["types"], found["collections"]) == (["dataset"], ["data"])
    assert found["aliases"] == ["again", "best", "latest"]
    assert [name for name, _ in found["versions"]] == [f"data:v{n}" for n in (3, 2, 1, 0)]
    assert found["files"] == [
        ["a.txt", 1],
        ["made.txt", 4],
        ["outside.bin", 7],
        ["sub/b.txt", 1000],
    ]
    assert found["exists"] == [True, False]
    assert found["changed"] == ["v0", ["mine"], "because", {"k": [1, 2], "z": 1}, ["t"], 2]
    assert "data:v3 has the aliases latest" in found["refused"][0]
    assert "links no artifacts" in found["refused"][1]
    assert "not found" in found["refused"][2]
    assert found["left"] == [["data:v2", ["latest"]], ["data:v1", ["again"]], ["data:v0", ["mine"]]]


OFFLINE = """
import wave

r = wandb.init(id="r1")
os.makedirs("d", exist_ok=True)
open("d/a.txt", "w").write("a")
open("weights.bin", "wb").write(b"w" * 5000)
with wave.open("tone.wav", "wb") as tone:
    tone.setparams((1, 2, 8000, 0, "NONE", ""))
    tone.writeframes(bytes(1600))
art = wandb.Artifact("data", type="dataset")
art.add_dir("d")
r.log_artifact(art)
r.save("weights.bin")
picture = [[[n * m, 0, 255] for n in range(4)] for m in range(4)]
import numpy as np
image = wandb.Image(np.array(picture, dtype=np.uint8), caption="a caption")
r.log({
    "table": wandb.Table(columns=["x", "image"], data=[[1, image], [2.5, image]]),
    "image": image, "histogram": wandb.Histogram([1, 2, 3], num_bins=2),
    "html": wandb.Html("<b>bold</b>"), "audio": wandb.Audio("tone.wav"), "loss": 0.5,
})
r.finish()
"""

READ_MEDIA = """
run = api.run("p/r1")
(row,) = run.history(pandas=False)
table = api.artifact("p/run-r1-table:latest").get("table")
files = {f.name: f.size for f in run.files()}
path = row["image"]["path"]
run.file(path).download(root="back")
print(json.dumps({
    "row": row, "columns": table.columns, "files": files, "summary": run.summary["image"]["path"],
    "numbers": [line[0] for line in table.data], "is_image": type(table.data[0][1]).__name__,
    "image_bytes": os.path.getsize(os.path.join("back", path)),
    "weights": len(run.file("weights.bin").download(root="back").read()),
    "logged": sorted(a.name for a in run.logged_artifacts()),
}))
"""


def test_an_offline_run_with_files_is_synced_twice(client: Client, kelt: Kelt) -> None:
    client.run(OFFLINE, WANDB_MODE="offline")
    client.sync(*client.offline_folders())
    for mark in (client.home / "wandb").glob("*/*.synced*"):
        mark.unlink()
    client.sync(*client.offline_folders())
    found = client.answer(API + READ_MEDIA)
    row: dict[str, Any] = found["row"]
    types = {key: value["_type"] for key, value in row.items() if isinstance(value, dict)}
    assert types == {
        "table": "table-file", "image": "image-file", "histogram": "histogram",
        "html": "html-file", "audio": "audio-file",
    }  # fmt: skip
    assert (row["loss"], row["image"]["caption"]) == (0.5, "a caption")
    assert row["histogram"]["values"] == [1, 2]
    for key in ("table", "image", "html", "audio"):
        assert found["files"][row[key]["path"]] == row[key]["size"], key
    assert found["image_bytes"] == row["image"]["size"]
    assert found["summary"] == row["image"]["path"]
    assert found["weights"] == 5000
    assert (found["columns"], found["numbers"]) == (["x", "image"], [1, 2.5])
    assert found["is_image"] == "Image"
    assert found["logged"] == ["data:v0", "run-r1-table:v0"]
    assert kelt.run("r1")["archived"] == []


@long_only
def test_a_server_killed_in_mid_upload_shows_whole_versions_alone(
    client: Client, kelt: Kelt
) -> None:
    process = client.start(
        """
        os.makedirs("d", exist_ok=True)
        for n in range(60):
            open(f"d/{n}.bin", "wb").write(bytes([n]) * 300_000)
        r = wandb.init(id="r1")
        art = wandb.Artifact("data", type="dataset")
        art.add_dir("d")
        r.log_artifact(art).wait()
        r.finish()
        """
    )
    blobs = kelt.folder / "data" / "artifacts" / "blobs"
    deadline = time.monotonic() + 60
    while len(list(blobs.rglob("*"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    kelt.kill()
    for path in blobs.rglob("*/*/*"):
        assert hashlib.md5(path.read_bytes()).hexdigest() == path.name
    kelt.start()
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, out + err
    found = kelt.get("/artifacts/-/p/data:latest")
    assert (found["version"], found["file_count"], found["state"]) == ("v0", 60, "COMMITTED")
    for file in found["files"]:
        content = kelt.fetch(f"/artifacts/-/p/data:v0/files/{file['path']}")
        assert content == bytes([int(file["path"].partition(".")[0])]) * 300_000
    assert not list((kelt.folder / "data" / "artifacts" / "incoming").iterdir())
