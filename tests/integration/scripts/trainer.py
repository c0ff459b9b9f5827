"""The smallest training with Hugging Face's Trainer: 64 points on a line."""

import argparse
import os
import signal

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

options = argparse.ArgumentParser()
options.add_argument("--by", choices=["wandb", "kelt"], required=True)
options.add_argument("--steps", type=int, default=12)
options.add_argument("--die-after", type=int)
options.add_argument("--resume", action="store_true")
options = options.parse_args()


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x, labels=None):
        found = self.line(x)
        return {"loss": ((found - labels) ** 2).mean(), "logits": found}


class Dying(TrainerCallback):
    """Kills the process, as the kernel would when memory is out."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)


if options.by == "kelt":
    from kelt.integration.transformers import KeltCallback

    callbacks = [KeltCallback("trainer", tags=["native"])]
else:
    callbacks = []
data = [{"x": torch.tensor([i / 64]), "labels": torch.tensor([i / 32])} for i in range(64)]
trainer = Trainer(
    model=Line(),
    args=TrainingArguments(
        output_dir="checkpoints", run_name="trained", max_steps=options.steps, logging_steps=2,
        save_steps=4, eval_strategy="steps", eval_steps=4, per_device_train_batch_size=8,
        report_to="wandb" if options.by == "wandb" else "none", use_cpu=True, disable_tqdm=True,
    ),
    train_dataset=data,
    eval_dataset=data,
    callbacks=[*callbacks, Dying()],
)  # fmt: skip
trainer.train(resume_from_checkpoint=options.resume or None)
