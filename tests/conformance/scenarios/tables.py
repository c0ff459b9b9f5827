"""Tables, pictures and the like: added to artifacts, logged, read back, and added elsewhere."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import wandb
from PIL import Image as Pictures

folder = Path("tables-scenario")
folder.mkdir(exist_ok=True)
points = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
Pictures.fromarray(points).save(folder / "a.png")
(folder / "sound.wav").write_bytes(b"RIFF")
(folder / "film.mp4").write_bytes(b"film")
(folder / "page.html").write_text("<html><body>x</body></html>")
(folder / "cloud.pts.json").write_text(json.dumps([[1, 2, 3]]))
(folder / "atoms.pdb").write_text("ATOM")
path = str(folder / "a.png")
boxes = {
    "found": {
        "box_data": [
            {
                "position": {"minX": 0, "maxX": 1, "minY": 0, "maxY": 1},
                "class_id": 1,
                "scores": {"certain": 0.5},
            }
        ],
        "class_labels": {1: "dog"},
    }
}
masks = {"m": {"mask_data": np.array([[0, 1], [1, 1]]), "class_labels": {0: "no", 1: "yes"}}}


def plain():
    noon = dt.datetime(2026, 1, 2, 12)  # noqa: DTZ001 # which is then UTC's
    mixed = wandb.Table(columns=["x", "y"], data=[[1, None], ["a", 2]], allow_mixed_types=True)
    grown = wandb.Table(columns=["x"], data=[[1], [2]])
    grown.add_column("y", [3, 4])
    grown.add_data(5, 6)
    frame = pd.DataFrame({"i": [1, 2], "f": [1.5, None], "s": ["x", "y"], "b": [True, False]})
    frame["when"] = pd.to_datetime(["2026-01-01", "2026-01-02"])
    columns = ["i", "f", "s", "b", "none", "list", "dict", "when", "day"]
    first = [1, 2.5, "x", True, None, [1, 2], {"a": 1, "b": "x"}, noon, noon.date()]
    second = [2, float("nan"), "é", False, None, [3], {"a": 2, "b": "y"}, noon, noon.date()]
    return {
        "cells": wandb.Table(columns=columns, data=[first, second]),
        "sub/empty": wandb.Table(),
        "numbered": wandb.Table(columns=list(range(11)), data=[list(range(11))]),
        "mixed": mixed,
        "grown.table.json": grown,
        "required": wandb.Table(columns=["x"], data=[[[]], [["a"]], [["b", "c"]]], optional=False),
        "nested": wandb.Table(
            columns=["l", "o", "bad"],
            data=[[[[1], [2, 3]], [1, None], [1, "a"]], [[[4]], [None], None]],
        ),
        "array": wandb.Table(data=np.arange(6).reshape(2, 3), columns=["a", "b", "c"]),
        "frame": wandb.Table(dataframe=frame),
        "vectors": wandb.Table(
            columns=["v", "m"],
            data=[[np.array([1.0, n]), np.full((2, 3), n)] for n in (2.0, 3.0)],
        ),
        "counts": wandb.Table(
            columns=["h"], data=[[wandb.Histogram(np_histogram=([1], [0, 1.5]))]]
        ),
    }


def media():
    classes = [{"id": 1, "name": "dog"}]
    cells = [
        wandb.Image(path),
        wandb.Audio(str(folder / "sound.wav"), caption="s"),
        wandb.Video(str(folder / "film.mp4")),
        wandb.Html(str(folder / "page.html"), inject=False),
        wandb.Molecule(str(folder / "atoms.pdb")),
        wandb.Object3D(np.array([[1.0, 2.0, 3.0]])),
    ]
    return {
        "picture": wandb.Image(path, caption="p", grouping=2),
        "made": wandb.Image(points, masks=masks, boxes=boxes),
        "jpg": wandb.Image(Pictures.new("L", (3, 3)), file_type="jpg"),
        "boxed": wandb.Image(path, boxes=boxes, classes=classes),
        "sound": wandb.Audio(str(folder / "sound.wav"), caption="s"),
        "film": wandb.Video(str(folder / "film.mp4"), caption="f"),
        "page": wandb.Html("<html><body>x</body></html>"),
        "cloud": wandb.Object3D(str(folder / "cloud.pts.json")),
        "atoms": wandb.Molecule(str(folder / "atoms.pdb"), caption="a"),
        "classes": wandb.data_types.Classes(classes),
        "cells": wandb.Table(
            columns=["i", "s", "v", "h", "m", "o"],
            data=[cells, [wandb.Image(points, boxes=boxes), *[None] * 5]],
        ),
    }


def added(name, objects):
    made = wandb.Artifact(name, type="objects")
    for key, obj in objects.items():
        made.add(obj, key)
        made.add(obj, f"{key}-again")
    return made


with wandb.init(project="tables", id="adds") as run:
    run.log_artifact(added("plain", plain())).wait()
    with_file = added("media", {})
    with_file.add_file(path, name="elsewhere/b.png")
    for key, obj in media().items():
        with_file.add(obj, key)
    run.log_artifact(with_file).wait()
    table = wandb.Table(columns=["x", "picture"], data=[[1, wandb.Image(path)]])
    run.log({"shown": table, "deep": {"in": wandb.Table(columns=["y"], data=[[2]])}})
    run.log({"shown": table, "odd/key": pd.DataFrame({"z": [1, 2]})})

with wandb.init(project="tables", id="reads") as run:
    used = run.use_artifact("plain:latest")
    cells = used.get("cells")
    run.log({"columns": cells.columns, "rows": [row[:7] for row in cells.data]})
    run.log({"when": cells.data[0][7].isoformat(), "none": used.get("nothing") is None})
    run.log({"m": used.get("vectors").data[1][1].tolist(), "again": used.get("cells-again")})
    run.log({"frame": used.get("frame").get_dataframe()["s"].tolist()})
    found = run.use_artifact("media:latest")
    picture = found.get("cells").data[1][0]
    run.log({"size": list(picture.image.size), "classes": found.get("classes") is not None})
    other = wandb.Artifact("others", type="objects")
    other.add(found.get("cells"), "cells")
    other.add(found.get("picture"), "one")
    run.log_artifact(other).wait()
    of_run = run.use_artifact("run-adds-shown:latest", type="run_table").get("shown")
    run.log({"shown": [of_run.data[0][0], list(of_run.data[0][1].image.size)]})
    again = run.use_artifact("others:latest").get("cells")
    run.log({"referred": [again.columns, list(again.data[1][0].image.size)]})
    draft = run.use_artifact("plain:latest").new_draft()
    draft.remove("sub")
    draft.add(wandb.Table(columns=["new"], data=[[1]]), "new")
    run.log_artifact(draft).wait()
    newest = run.use_artifact("plain:latest")
    newest.description = "changed"
    newest.metadata["k"] = [1, 2]
    newest.aliases.append("best")
    newest.tags = ["good"]
    newest.save()
    first = wandb.Api().artifact("tables/plain:v0")
    by = first.logged_by()
    run.log({"by": by.id, "used": sorted(user.id for user in first.used_by())})
    versions = wandb.Api().artifacts("objects", "tables/plain")
    run.log({"versions": sorted(version.version for version in versions)})
    root = wandb.Api().artifact("tables/plain:best").download(root="tables-scenario-whole")
    newest.verify(root)
    run.log({"there": wandb.Api().artifact_exists("tables/plain:v9")})
