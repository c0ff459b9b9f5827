"""Customize log axes: a metric that is the x axis of others, by name and by prefix."""

import wandb

with wandb.init(project="axes", id="named") as run:
    run.define_metric("custom_step")
    run.define_metric("validation_loss", step_metric="custom_step")
    for i in range(10):
        run.log({"train_loss": 1 / (i + 1), "custom_step": i**2, "validation_loss": 1 / (i + 1)})

with wandb.init(project="axes", id="globs") as run:
    run.define_metric("train/step")
    run.define_metric("train/*", step_metric="train/step")
    run.define_metric("hidden", hidden=True)
    for i in range(10):
        run.log({"train/step": 2**i, "train/loss": 1 / (i + 1), "train/accuracy": 1 - 1 / (1 + i)})
        run.log({"hidden": i})
