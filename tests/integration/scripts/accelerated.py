"""accelerate's tracker: what a script of one's own logs by it."""

from accelerate import Accelerator

accelerator = Accelerator(log_with="wandb", cpu=True)
accelerator.init_trackers(
    "accelerate", config={"lr": 0.1}, init_kwargs={"wandb": {"name": "accelerated"}}
)
for step in range(3):
    accelerator.log({"loss": 1 / (step + 1)}, step=step)
accelerator.end_training()
