"""How runs end: an exit code, an exception in a `with` block."""

import wandb

run = wandb.init(project="endings", id="code")
run.log({"a": 1})
run.finish(exit_code=1)

try:
    with wandb.init(project="endings", id="exception") as run:
        run.log({"a": 1})
        {}["a mistake in the script"]
except KeyError:
    pass

with wandb.init(project="endings", id="disabled", mode="disabled") as run:
    run.log({"a": 1})
