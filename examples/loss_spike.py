"""A loss spike: restore the checkpoint, rewind the run in mid-training, and go on.

No process is restarted and nothing is erased: what was logged after the step stays readable as an
archived branch.
"""

import random

import kelt

noise = random.Random(4)
run = kelt.init("loss-spike", config={"lr": 0.1})
weights, checkpoint, checkpoint_step = 10.0, 10.0, 0
spiked = False
while run.step < 200:
    step = run.step
    weights -= run.config["lr"] * weights * noise.uniform(0.5, 1.0)
    if step == 120 and not spiked:
        weights, spiked = 1e6, True  # something goes wrong, once
    run.log({"loss": weights**2})
    if weights**2 > 1e3 and step > 0:
        weights = checkpoint
        run.rewind(checkpoint_step)
        run.config["lr"] = run.config["lr"] / 2
    elif step % 20 == 0:
        checkpoint, checkpoint_step = weights, step
run.finish()
