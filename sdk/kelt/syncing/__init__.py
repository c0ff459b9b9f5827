"""Sending run folders that wait: what `kelt sync` and `kelt.sync()` both do.

`survey` tells, from the files alone, what waits in which folder; `wandb_runs` does so for W&B's
files, and has run folders made of them. `engine` has the daemon send it and follows. `watch`
decides when that is over. `outcome` is what came of it: said to be synced is only what the upstream
has said, since it was asked, that it has committed.
"""
