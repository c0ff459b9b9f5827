"""Quickstart and "Create an experiment": init, log in a loop, finish."""

import wandb

run = wandb.init(
    project="basics",
    id="first",
    name="first try",
    notes="what it is for",
    tags=["baseline", "small"],
    group="group 1",
    job_type="train",
    config={"learning_rate": 0.02, "architecture": "CNN", "dataset": "CIFAR-100", "epochs": 10},
)
offset = 0.5
for epoch in range(2, run.config.epochs):
    run.log({"acc": 1 - 2**-epoch - offset / epoch, "loss": 2**-epoch + offset / epoch})
run.finish()

# The module's functions act on the open run.
wandb.init(project="basics", id="second")
wandb.config.epochs = 4
for epoch in range(wandb.config["epochs"]):
    wandb.log({"train": {"loss": 1 / (epoch + 1), "accuracy": epoch / 4}, "epoch": epoch})
wandb.finish()
