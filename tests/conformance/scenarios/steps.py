"""Log: what `step` and `commit` make of several calls."""

import wandb

with wandb.init(project="steps", id="commit") as run:
    run.log({"loss": 0.5}, commit=False)
    run.log({"accuracy": 0.8})
    run.log({"loss": 0.25}, commit=False)
    run.log({"accuracy": 0.9}, commit=True)
    run.log({"left open": 1}, commit=False)

with wandb.init(project="steps", id="named") as run:
    for step in (0, 5, 10):
        run.log({"loss": 1 / (step + 1)}, step=step)
        run.log({"accuracy": step / 10}, step=step)
    run.log({"joins the open step": 1})
    run.log({"next": 1})
    run.log({"twenty": 1}, step=20, commit=True)
    run.log({"twenty-one": 1})
