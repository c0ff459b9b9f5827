"""Fork a run, from a step, and from a fork; log on from there."""

import math

import wandb

with wandb.init(project="forking", id="original", config={"lr": 0.1, "depth": 3}) as original:
    for i in range(300):
        original.log({"metric": i + 0.5})

with wandb.init(
    project="forking", id="forked", fork_from=f"{original.id}?_step=200", config={"lr": 0.01}
) as forked:
    for i in range(201, 300):
        value = i + 0.5 if i < 250 else i + 2 * math.sin(i / 3.0)
        forked.log({"metric": value, "additional_metric": i * 1.1})

with wandb.init(project="forking", id="again", fork_from="forked?_step=250") as again:
    again.log({"metric": -1.5})
