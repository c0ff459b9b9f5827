"""Makes one of the files here with the wandb that is installed (README.md says how)."""

import math
import sys


def rows():
    """What the script logs, row by row."""
    for i in range(6):
        row = {"loss": 1 / (i + 1), "acc": i % 3, "whole": float(i), "text": f"row {i}"}
        row |= {"nested": {"a": i, "b": {"c": i / 2}}, "val/x": i * 2, "epoch": i // 2}
        yield row | {"nan": math.nan, "inf": -math.inf, "flag": i % 2 == 0, "list": [i, "x"]}


def main():
    import wandb

    wandb.init(
        project="proj",
        id="made",
        config={"lr": 0.1, "net": {"depth": 3, "widths": [1, 2]}},
        name="Nice name",
        notes="a note",
        tags=["a", "b"],
        group="g",
        job_type="train",
        resume="allow" if "resume" in sys.argv else None,
    )
    wandb.define_metric("acc", summary="max")
    wandb.define_metric("val/*", step_metric="epoch")
    for i, row in enumerate(rows()):
        wandb.log(row)
        if i == 3:
            wandb.config.update({"lr": 0.2}, allow_val_change=True)
    wandb.run.summary["by_hand"] = 42
    wandb.config["late"] = {"x": 1}
    sys.stdout.write("a line on the console\n")
    wandb.finish()


if __name__ == "__main__":
    main()
