"""`wandb.Api()` reads runs from a kelt server, whoever logged them."""

from __future__ import annotations

from pathlib import Path

from conformance.conftest import Client, Kelt, log_natively

from harness.amounts import long_only

LOGGED = """
for n in range(4):
    r = wandb.init(id=f"r{n}", name=f"name {n}", config={"lr": n * 0.1, "o": {"k": n}}, tags=["t"],
                   group=f"g{n % 2}")
    for i in range(20 + n):
        r.log({"i": i, "loss": 1.5 / (i + 1), **({"rare": i} if i % 5 == 0 else {})})
    r.summary["best"] = 10 - n
    r.finish()
"""
API = "api = wandb.Api()\n"


def test_one_run(client: Client, kelt: Kelt) -> None:
    client.run(LOGGED)
    found = client.answer(
        API
        + """
run = api.run("p/r1")
print(json.dumps({
    "config": run.config, "name": run.name, "state": run.state, "tags": run.tags, "id": run.id,
    "group": run.group, "last": run.lastHistoryStep, "best": run.summary["best"],
    "loss": run.summary["loss"], "step": run.summary["_step"],
    "scan": [[row["_step"], row["i"]] for row in run.scan_history()],
    "keys": [row for row in run.scan_history(keys=["i", "rare"])],
    "pages": [row["i"] for row in run.scan_history(page_size=7)],
    "range": [row["i"] for row in run.scan_history(min_step=3, max_step=6)],
    "history": run.history(pandas=False),
    "of": run.history(keys=["loss"], pandas=False),
    "files": sorted(f.name for f in run.files()),
}))
"""
    )
    assert found["config"] == {"lr": 0.1, "o": {"k": 1}}
    assert (found["name"], found["id"], found["state"]) == ("name 1", "r1", "finished")
    assert (found["tags"], found["group"], found["last"]) == (["t"], "g1", 20)
    assert (found["best"], found["loss"], found["step"]) == (9, 1.5 / 21, 20)
    assert found["scan"] == [[i, i] for i in range(21)]
    assert [row["i"] for row in found["keys"]] == [0, 5, 10, 15, 20]
    assert found["pages"] == list(range(21))
    assert found["range"] == [3, 4, 5]
    assert [row["i"] for row in found["history"]] == list(range(21))
    assert [row["loss"] for row in found["of"]] == [1.5 / (i + 1) for i in range(21)]
    assert "config.yaml" in found["files"]


@long_only
def test_many_runs(client: Client, kelt: Kelt) -> None:
    client.run(LOGGED)
    found = client.answer(
        API
        + """
def ids(**asked):
    return [run.id for run in api.runs("p", **asked)]
print(json.dumps({
    "all": ids(), "newest": ids(order="-created_at"), "pages": ids(per_page=1),
    "number": len(api.runs("p")),
    "lr": ids(filters={"config.lr": {"$gte": 0.2}}),
    "lr_value": ids(filters={"config.lr.value": {"$gt": 0.2}}),
    "best": ids(order="+summary_metrics.best"),
    "name": ids(filters={"name": "r2"}), "shown": ids(filters={"display_name": "name 3"}),
    "group": ids(filters={"$and": [{"group": "g1"}, {"state": "finished"}]}),
    "none": ids(filters={"state": "running"}),
    "projects": [p.name for p in api.projects()],
}))
"""
    )
    everything = ["r0", "r1", "r2", "r3"]
    assert found["all"] == found["pages"] == everything
    assert found["newest"] == everything[::-1]
    assert found["number"] == 4
    assert sorted(found["lr"]) == ["r2", "r3"]
    assert found["lr_value"] == ["r3"]
    assert found["best"] == everything[::-1]
    assert (found["name"], found["shown"]) == (["r2"], ["r3"])
    assert sorted(found["group"]) == ["r1", "r3"]
    assert found["none"] == []
    assert found["projects"] == ["p"]


@long_only
def test_a_run_is_changed_later(client: Client, kelt: Kelt) -> None:
    client.run(LOGGED)
    client.run(
        API
        + """
run = api.run("p/r1")
run.tags.append("later")
run.config["lr"] = 0.7
run.summary["best"] = 1
run.update()
"""
    )
    run = kelt.run("r1")
    assert (run["tags"], run["config"]["lr"]) == (["t", "later"], 0.7)
    assert (run["summary"]["best"], run["state"], run["rows"]) == (1, "finished", 21)


def test_a_run_that_is_not_there(client: Client, kelt: Kelt) -> None:
    client.run(API + 'api.run("p/nothing").state', fails=True)


def test_a_run_that_kelt_logged_is_changed_too(client: Client, kelt: Kelt, tmp_path: Path) -> None:
    log_natively(
        kelt, tmp_path,
        """
        run = kelt.init(project="p", id="n", config={"lr": 0.1, "old": 1}, tags=["t"], notes="a")
        run.define_metric("i", summary="min,max")
        for i in range(4):
            run.log({"i": i})
        run.finish()
        """,
    )  # fmt: skip
    before = kelt.run("n")
    client.run(
        API
        + """
run = api.run("p/n")
run.config["lr"] = 0.7
run.config["new"] = {"a": 1}
del run.config["old"]
run.summary["best"] = 1
run.tags, run.notes, run.display_name, run.group = ["u"], "b", "shown", "g"
run.update()
run = wandb.Api().run("p/n")
assert (run.config["lr"], run.summary["best"], run.name) == (0.7, 1, "shown")
assert (run.summary["i"]["min"], run.summary["i"]["max"]) == (0, 3)
"""
    )
    run = kelt.run("n")
    assert run["config"] == {"lr": 0.7, "new": {"a": 1}}
    assert (run["tags"], run["notes"], run["name"], run["group"]) == (["u"], "b", "shown", "g")
    assert run["summary"]["best"] == 1
    for key in ("state", "rows", "sessions", "archived", "created_at", "problems", "host"):
        assert run[key] == before[key], key
