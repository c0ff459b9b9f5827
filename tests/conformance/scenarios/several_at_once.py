"""Several runs in one process: `reinit`."""

import wandb

with (
    wandb.init(project="several", id="outer") as outer,
    wandb.init(project="several", id="inner", reinit="create_new") as inner,
):
    for i in range(3):
        outer.log({"i": i})
        inner.log({"i": i * 10})

first = wandb.init(project="several", id="finished-first")
first.log({"a": 1})
second = wandb.init(project="several", id="then-second", reinit="finish_previous")
second.log({"a": 2})
second.finish()
