"""Runs: names, notes and tags that change while they run; groups of many processes."""

import wandb

with wandb.init(project="describing", id="changed", tags=["one"]) as run:
    run.name = "a better name"
    run.notes = "later"
    run.tags = (*run.tags, "two")
    run.log({"a": 1})

for rank in range(2):
    with wandb.init(
        project="describing", id=f"rank-{rank}", name=f"rank {rank}", group="ddp", job_type="worker"
    ) as run:
        run.log({"loss": rank + 0.5})
