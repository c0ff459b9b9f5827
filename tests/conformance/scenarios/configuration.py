"""Experiment configuration: at init, from argparse, later, nested, excluded."""

import argparse

import wandb

parser = argparse.ArgumentParser()
parser.add_argument("-b", "--batch_size", type=int, default=32)
parser.add_argument("-lr", "--learning_rate", type=float, default=0.001)
args = parser.parse_args([])

with wandb.init(project="configuration", id="argparse", config=args) as run:
    run.config["epochs"] = 4
    run.config.update({"lr": 0.1, "channels": 16})
    run.config.update({"lr": 0.2}, allow_val_change=True)
    run.config.setdefaults({"channels": 99, "momentum": 0.9})
    assert run.config.get("missing", "none") == "none"
    assert run.config["batch_size"] == run.config.batch_size == 32

nested = {"model": {"name": "net", "layers": [64, 32]}, "labels": {0: "cat", 1: "dog"}}
with wandb.init(
    project="configuration",
    id="nested",
    config={**nested, "secret": "x", "as": print, "-dash": 1},
    config_exclude_keys=["secret"],
) as run:
    run.log({"loss": 1})
