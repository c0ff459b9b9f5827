"""`python -m kelt.as_wandb train.py …`: what `kelt run train.py …` does."""

import sys

from kelt.cli.main import run

sys.exit(run(["run", *sys.argv[1:]]))
