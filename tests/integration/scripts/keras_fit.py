"""The smallest training with Keras, on torch: 32 points on a line, 4 batches an epoch."""

import argparse
import os
import signal

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np

options = argparse.ArgumentParser()
options.add_argument("--by", choices=["wandb", "kelt"], required=True)
options.add_argument("--epochs", type=int, default=2)
options.add_argument("--die-after", type=int)
options = options.parse_args()


class Dying(keras.callbacks.Callback):
    """Kills the process, as the kernel would when memory is out."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)


x = np.arange(32.0).reshape(-1, 1) / 32
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse", metrics=["mae"])
if options.by == "kelt":
    from kelt.integration.keras import KeltMetricsLogger

    callbacks = [
        keras.callbacks.BackupAndRestore("backup", delete_checkpoint=False),
        KeltMetricsLogger("keras", log_freq=1, point_file="point.json", name="fitted"),
    ]
else:
    import wandb
    from wandb.integration.keras import WandbCallback, WandbMetricsLogger, WandbModelCheckpoint

    wandb.init(project="keras-by-wandb", name="fitted")
    callbacks = [WandbMetricsLogger(log_freq=2), WandbCallback(), WandbModelCheckpoint("m.keras")]
model.fit(
    x, 2 * x, epochs=options.epochs, batch_size=8, validation_data=(x, 2 * x), verbose=0,
    callbacks=[*callbacks, Dying()],
)  # fmt: skip
