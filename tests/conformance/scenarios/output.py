"""What is printed while a run is open, and what is measured of the machine."""

# ruff: noqa: T201 # what is shown

import logging
import sys
import time

import wandb

handler = logging.StreamHandler(sys.stderr)  # made before the run, as frameworks do

settings = wandb.Settings(x_disable_stats=False, x_stats_sampling_interval=0.2)
with wandb.init(project="output", id="console", settings=settings) as run:
    print("one\n\nthree")
    run.log({"i": 0})
    for percent in range(0, 101, 4):
        print(f"\r{percent:3} % done", end="", flush=True)
        time.sleep(0.02)
    print()
    sys.stdout.writelines(["by writelines\n", "and again\n"])
    print("\x1b[31mred\x1b[0m and plain")
    print("to the other stream", file=sys.stderr)
    handler.handle(logging.makeLogRecord({"msg": "by a logger"}))
    print("above\nbelow\n\x1b[2Aabove, again\nbelow, again")
    print("the last, unended", end="")
print()

with wandb.init(project="output", id="again", settings=settings) as run:
    print("another run of the process")

with wandb.init(project="output", id="off", settings=wandb.Settings(console="off")) as run:
    print("not kept")
