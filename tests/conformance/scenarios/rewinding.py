"""Rewind a run: it keeps its id, and goes on from an earlier step."""

import wandb

with wandb.init(project="rewinding", id="spiked", config={"lr": 0.1}) as run:
    for i in range(60):
        run.log({"metric": i + 0.5, "old": i})

with wandb.init(project="rewinding", resume_from="spiked?_step=40") as run:
    for i in range(41, 50):
        run.log({"metric": i * 2 + 0.5})

with wandb.init(project="rewinding", id="branch", fork_from="spiked?_step=45") as run:
    run.log({"metric": 0.5})
