"""Resume a run: must, allow, and with the next step in hand."""

import wandb

with wandb.init(project="resuming", id="interrupted", resume="allow", config={"lr": 0.1}) as run:
    for i in range(5):
        run.log({"loss": 5.5 - i})

run = wandb.init(project="resuming", id="interrupted", resume="must", config={"more": True})
assert run.resumed
assert run.starting_step == 5, run.starting_step
for i in range(run.starting_step, 8):
    run.log({"loss": 5.5 - i})
run.finish()

try:
    wandb.init(project="resuming", id="not there", resume="must")
except wandb.Error:
    pass
else:
    raise AssertionError("resume='must' began a run")
