"""What a row can hold: arrays, histograms, and what is no number."""

import datetime as dt

import numpy as np
import wandb

with wandb.init(project="values", id="all") as run:
    run.log({
        "scalar": np.float32(0.5),
        "zero-dim": np.array(2.5),
        "one": np.array([[3.5]]),
        "short": np.arange(4),
        "long": np.arange(100.0),
        "histogram": wandb.Histogram([1, 2, 2, 3], num_bins=3),
        "counted": wandb.Histogram(np_histogram=np.histogram([1.5, 2.5, 2.75], bins=2)),
        "tuple": (1, 2),
        "text": "x",
        "none": None,
        "nan": float("nan"),
        "yes": True,
        "when": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
        "nested": {"a": {"b": 1.5}},
    })  # fmt: skip
