"""Makes `tensorboard/` beside this file with the real writers (README.md says which, and how)."""

import shutil
import sys
from pathlib import Path

import numpy as np

ROWS = 20


def loss(step):
    return 1 / (step + 3)


def of_tensorboardx(folder):
    """As PyTorch's SummaryWriter writes, which has the same code."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder / "torch"), flush_secs=1) as writer:
        for step in range(ROWS):
            writer.add_scalar("loss", loss(step), step, walltime=1.7e9 + step)
            writer.add_scalar("acc/train", step % 7, step, walltime=1.7e9 + step + 0.5)
        writer.add_scalar("nan", float("nan"), 3, walltime=1.7e9 + 30)
        writer.add_scalar("inf", float("-inf"), 3, walltime=1.7e9 + 30)
        writer.add_text("remark", "so far *so good*", 5, walltime=1.7e9 + 31)
        writer.add_histogram("weights", np.arange(10.0), 5, walltime=1.7e9 + 32)
        writer.add_image("picture", np.zeros((3, 2, 2), np.uint8), 5, walltime=1.7e9 + 33)
        for _ in range(3):  # without a step
            writer.add_scalar("uncounted", 0.5, walltime=1.7e9 + 34)
    with SummaryWriter(str(folder / "purged")) as writer:
        for step in range(10):
            writer.add_scalar("x", step, step, walltime=1.7e9 + step)
    with SummaryWriter(str(folder / "purged"), purge_step=6, filename_suffix=".again") as writer:
        for step in range(6, 9):
            writer.add_scalar("x", 100 + step, step, walltime=1.7e9 + 50 + step)
    with SummaryWriter(str(folder / "hparams")) as writer:
        writer.add_hparams(
            {"lr": 0.1, "batch": 32, "opt": "adam", "flag": True}, {"final": 0.9}, name="sub"
        )


def of_tensorflow(folder):
    """As Keras and TensorFlow 2 write: tensors of plugins."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hp

    with tf.summary.create_file_writer(str(folder / "keras" / "train")).as_default():
        hp.hparams({"units": 16, "dropout": 0.25, "optimizer": "sgd"})
        for step in range(ROWS):
            tf.summary.scalar("epoch_loss", loss(step), step=step)
            tf.summary.scalar("whole", tf.constant(step, tf.float64), step=step)
        tf.summary.text("note", "a text", step=1)
        tf.summary.text("notes", ["a", "b"], step=1)
        tf.summary.histogram("kernel", np.arange(10.0), step=1)
        tf.summary.image("picture", np.zeros((1, 2, 2, 3), np.uint8), step=1)
    with tf.summary.create_file_writer(str(folder / "keras" / "validation")).as_default():
        tf.summary.scalar("epoch_loss", 0.125, step=0)


def main():
    folder = Path(__file__).parent / "tensorboard"
    if "tensorboardX" in sys.argv:
        of_tensorboardx(folder)
    if "tensorflow" in sys.argv:
        of_tensorflow(folder)
    for path in folder.rglob("*tfevents*"):  # names hold the host and the process
        number = path.name.partition("tfevents.")[2].partition(".")[0]
        suffix = ".again" if path.name.endswith(".again") else ""
        if "host" not in path.name:
            path.rename(path.with_name(f"events.out.tfevents.{number}.host{suffix}"))


if __name__ == "__main__":
    if "clean" in sys.argv:
        shutil.rmtree(Path(__file__).parent / "tensorboard", ignore_errors=True)
    main()
