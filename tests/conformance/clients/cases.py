"""What scripts do with wandb, run by a client of any version: `cases.py CASE [CASE ...]`.

Imports wandb alone, and nothing that old versions lack: they have interpreters of their own.
"""

import json
import math
import sys

import wandb

PROJECT = "p"


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def whole():
    run = wandb.init(
        project=PROJECT, id="whole", name="a name", notes="a note", tags=["a", "b"], group="g",
        job_type="train", config={"lr": 0.1, "n": {"a": [1, 2]}, "t": "x"},
    )  # fmt: skip
    run.define_metric("loss", summary="min")
    run.define_metric("val/*", step_metric="epoch")
    run.log({
        "loss": 1.5, "a": {"b": math.nan}, "val/acc": 0.25, "epoch": 1, "l": [1, 2], "s": "text",
        "none": None, "inf": math.inf, "yes": True,
    })  # fmt: skip
    run.log({"loss": 0.5})
    run.log({"loss": 2.5, "a": {"b": 1.25}})
    run.config.update({"late": 5})
    run.summary["best"] = 7
    run.summary["nested"] = {"z": 1}
    run.finish()


def resumed():
    run = wandb.init(project=PROJECT, id="whole", resume="must", config={"more": 2})
    assert run.config["lr"] == 0.1, dict(run.config)
    for number in range(3):
        run.log({"loss": 3.5 + number})
    run.finish()


def failed():
    run = wandb.init(project=PROJECT, id="failed")
    run.log({"i": 1})
    run.finish(exit_code=1)


def allowed():
    for number in range(2):
        run = wandb.init(project=PROJECT, id="allowed", resume="allow")
        run.log({"i": number})
        run.finish()


def auto():
    run = wandb.init(project=PROJECT, resume="auto")
    first = run.id
    run.log({"i": 0})
    run.finish(exit_code=1)
    run = wandb.init(project=PROJECT, resume="auto")
    assert run.id == first
    run.log({"i": 1})
    run.finish()
    say("auto", first)


def forked():
    run = wandb.init(project=PROJECT, id="forked", fork_from="whole?_step=1")
    run.log({"loss": 9.5})
    run.finish()


def rewound():
    run = wandb.init(project=PROJECT, id="rewound")
    for number in range(4):
        run.log({"i": number})
    run.finish()
    run = wandb.init(project=PROJECT, id="rewound", resume_from="rewound?_step=1")
    run.log({"i": 100})
    run.finish()


def offline():
    run = wandb.init(project=PROJECT, id="offline", mode="offline", config={"lr": 0.2}, tags=["o"])
    for number in range(20):
        run.log({"i": number, "x": number * 0.5})
    run.summary["best"] = 3
    run.finish()


def never():
    """The last one: the oldest clients do nothing more in a process that was refused a run."""
    try:
        wandb.init(project=PROJECT, id="whole", resume="never")
    except Exception as error:  # noqa: BLE001 # each version has its own
        refusal = str(error)
    assert "never" in refusal


def read():
    api = wandb.Api()
    run = api.run(PROJECT + "/whole")
    found = {
        "config": run.config, "name": run.name, "state": run.state, "tags": run.tags,
        "last": run.lastHistoryStep, "best": run.summary["best"], "group": run.group,
        "notes": run.notes, "created_at": run.created_at,
        "steps": [row["_step"] for row in run.scan_history(page_size=2)],
        "loss": [row["loss"] for row in run.scan_history(keys=["loss"], page_size=2)],
        "history": [row.get("loss") for row in run.history(pandas=False)],
        "files": sorted(file.name for file in run.files()),
        "runs": [r.id for r in api.runs(PROJECT, order="+created_at")],
        "some": [r.id for r in api.runs(PROJECT, filters={"config.lr": {"$gt": 0.05}})],
    }  # fmt: skip
    say("read", json.dumps(found))
    run.config["lr"] = 0.7
    run.summary["best"] = 1
    run.tags.append("later")
    run.notes = "changed"
    run.update()
    fetched = run.file("config.yaml").download(replace=True)
    say("fetched", len(fetched.read()))
    run.file("wandb-summary.json").delete()
    assert "wandb-summary.json" not in [file.name for file in run.files()]


for case in sys.argv[1:]:
    globals()[case]()
