"""Ten lines: a run, a fork of it, and both read back."""

import math

import kelt

with kelt.init("quickstart", id="first", config={"lr": 0.1}, resume="allow") as run:
    for _ in range(100):
        run.log({"loss": math.exp(-0.05 * run.step)})

with kelt.init("quickstart", fork_from="first?_step=50", config={"lr": 0.01}) as fork:
    for _ in range(50):
        fork.log({"loss": math.exp(-0.07 * fork.step)})

print(fork.id, fork.summary["loss"], fork.url)
