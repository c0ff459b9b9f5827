"""Log summary metrics: set by hand, and by define_metric."""

import wandb

with wandb.init(project="summaries", id="by-hand") as run:
    best_accuracy = 0
    for accuracy in (0.3, 0.7, 0.5):
        run.log({"accuracy": accuracy, "constant": 1})
        if accuracy > best_accuracy:
            run.summary["best_accuracy"] = accuracy
            best_accuracy = accuracy
    run.summary.update({"nested": {"depth": 2}, "text": "done"})
    wandb.summary["by_module"] = True

with wandb.init(project="summaries", id="defined") as run:
    run.define_metric("loss", summary="min")
    run.define_metric("acc", summary="max")
    run.define_metric("speed", summary="first,mean,min,max,copy")
    for i in range(10):
        run.log({"loss": abs(i - 4) + 0.25, "acc": 10 - abs(i - 6) + 0.5, "speed": (i - 5) ** 2})

with wandb.init(project="summaries", id="before-the-end", fork_from="defined?_step=6") as run:
    run.log({"after": 1})
