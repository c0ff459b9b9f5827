"""The public API: runs of a project, a run's config, summary and history."""

import os

import wandb

for name, lr in (("one", 0.1), ("two", 0.2)):
    with wandb.init(project="reading", id=name, name=f"run {name}", config={"lr": lr}) as run:
        for i in range(4):
            run.log({"loss": lr + i, "even" if i % 2 == 0 else "odd": i})

project = f"{os.environ['WANDB_ENTITY']}/reading"
api = wandb.Api()
found = api.runs(project, filters={"config.lr": 0.2})
assert [run.name for run in found] == ["run two"]
assert {run.id for run in api.runs(project)} == {"one", "two"}
run = api.run(f"{project}/one")
assert (run.state, run.config["lr"], run.summary["loss"]) == ("finished", 0.1, 3.1)
rows = [row["loss"] for row in run.scan_history(keys=["loss"])]
assert rows == [0.1, 1.1, 2.1, 3.1], rows
try:
    api.run(f"{project}/none")
except (wandb.errors.CommError, ValueError):
    pass
else:
    raise AssertionError("a run was found that is not there")
