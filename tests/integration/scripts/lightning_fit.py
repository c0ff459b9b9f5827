"""The smallest training with Lightning: 32 points on a line, 4 batches an epoch."""

import argparse
import os
import signal

import lightning.pytorch as pl
import torch
from torch import nn

options = argparse.ArgumentParser()
options.add_argument("--by", choices=["wandb", "kelt"], required=True)
options.add_argument("--epochs", type=int, default=2)
options.add_argument("--die-after", type=int)
options.add_argument("--checkpoint")
options = options.parse_args()


class Line(pl.LightningModule):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.line = nn.Linear(1, 1)

    def _loss(self, batch, name):
        x, y = batch
        loss = ((self.line(x) - y) ** 2).mean()
        self.log(name, loss)
        return loss

    def training_step(self, batch, index):
        if self.global_step == options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._loss(batch, "train/loss")

    def validation_step(self, batch, index):
        self._loss(batch, "val/loss")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


x = torch.arange(32.0).reshape(-1, 1) / 32
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, 2 * x), batch_size=8)
callbacks = [pl.callbacks.ModelCheckpoint(dirpath="checkpoints", save_top_k=-1, filename="{epoch}")]
if options.by == "kelt":
    from kelt.integration.lightning import KeltCheckpoint, KeltLogger

    logger = KeltLogger("lightning", checkpoint=options.checkpoint, name="fitted")
    callbacks.append(KeltCheckpoint())
else:
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(project="lightning-by-wandb", name="fitted", log_model=True)
trainer = pl.Trainer(
    max_epochs=options.epochs, logger=logger, callbacks=callbacks, log_every_n_steps=1,
    accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(Line(), loader, loader, ckpt_path=options.checkpoint)
if options.by == "wandb":
    logger.log_image("pictures", [x.numpy()])
    logger.log_text("texts", columns=["text"], data=[["one"], ["two"]])
    logger.watch(trainer.model)
