"""A real training: a small network on scikit-learn's handwritten digits, one mini-batch a step."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import kelt

BATCH_ROWS = 64
VALIDATE_EVERY_STEPS = 10


class PlainFile:
    """Where the rows are written down by plain means, each before it is logged."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, step: int, row: Mapping[str, Any]) -> None:
        """Writes one line, at once."""
        os.write(self._fd, (json.dumps({"step": step, "row": row}) + "\n").encode())


def parse_arguments() -> argparse.Namespace:
    """What the story asks of this trainer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--plain-file", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--last-step", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--fork-from")
    parser.add_argument("--resume-from")
    parser.add_argument("--raise-at", type=int, default=-1)
    parser.add_argument("--pace-s", type=float, default=0.0)
    return parser.parse_args()


def load_model(arguments: argparse.Namespace) -> tuple[MLPClassifier, int]:
    """The network and the step to go on with: new, or from the checkpoint of the point named."""
    point = arguments.fork_from or arguments.resume_from
    if point is None:
        network = MLPClassifier(
            hidden_layer_sizes=(48,), learning_rate_init=arguments.learning_rate, random_state=0
        )
        return network, 0
    step = int(point.rpartition("=")[2])
    checkpoint = arguments.checkpoints / f"step-{step}.pickle"
    network = pickle.loads(checkpoint.read_bytes())  # noqa: S301 # written by the run before
    network.learning_rate_init = arguments.learning_rate
    return network, step + 1


def main() -> None:
    """Trains, logs each step, and keeps a checkpoint every fifty."""
    arguments = parse_arguments()
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(pixels / 16, digits, random_state=0)
    network, first_step = load_model(arguments)
    plain = PlainFile(arguments.plain_file)
    order = np.random.default_rng(first_step)
    with kelt.init(
        "digits",
        id=arguments.run_id,
        name=arguments.run_id,
        config={"learning_rate": arguments.learning_rate, "hidden": 48, "batch": BATCH_ROWS},
        fork_from=arguments.fork_from,
        resume_from=arguments.resume_from,
        tags=["demo"],
    ) as run:
        run.define_metric("loss", summary="min")
        for step in range(first_step, arguments.last_step + 1):
            chosen = order.choice(len(train_x), BATCH_ROWS, replace=False)
            network.partial_fit(train_x[chosen], train_y[chosen], classes=range(10))
            row: dict[str, Any] = {
                "loss": float(network.loss_),
                "examples": (step + 1) * BATCH_ROWS,
            }
            if step % VALIDATE_EVERY_STEPS == 0 or step == arguments.last_step:
                row["accuracy"] = float(network.score(test_x, test_y))
            plain.write(step, row)
            run.log(row)
            if step % 50 == 0:
                partial = arguments.checkpoints / f".{run.id}-{step}"
                partial.write_bytes(pickle.dumps(network))
                if arguments.run_id == "baseline" and not arguments.resume_from:
                    partial.replace(arguments.checkpoints / f"step-{step}.pickle")
            if step == arguments.raise_at:
                raise RuntimeError("the loss is not a number (on purpose)")
            if arguments.pace_s:
                time.sleep(arguments.pace_s)


if __name__ == "__main__":
    main()
