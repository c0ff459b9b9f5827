"""Four ranks of one training write one run, as they would under torchrun or srun.

Each has its own rows, steps and label; the run lives and ends with rank 0. The processes may as
well be on several hosts: all that they share is the run id.
"""

import multiprocessing
import os
import random

import kelt

RANKS = 4


def train(rank: int) -> None:
    os.environ["RANK"] = str(rank)  # torchrun sets it
    run = kelt.init("many-ranks", id=os.environ["JOB_ID"], mode="shared", config={"ranks": RANKS})
    noise, loss = random.Random(rank), 1.0
    for _ in range(200):
        loss *= 0.97 + noise.gauss(0, 0.005)
        run.log({"loss": loss, "samples_per_s": 900 + noise.gauss(0, 30)})
    if run.is_primary:
        run.summary["best"] = loss
    run.finish()


if __name__ == "__main__":
    os.environ["JOB_ID"] = f"job-{os.getpid()}"
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=train, args=(rank,)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    found = kelt.Api().run(f"many-ranks/{os.environ['JOB_ID']}")
    for writer in found.writers:
        mean = sum(row["loss"] for row in found.scan_history(["loss"], label=writer.label)) / 200
        print(f"{writer.label}: {writer.rows} rows, {writer.state}, mean loss {mean:.3f}")
