"""Importing this answers `import wandb` by kelt, here and in the processes started from here.

    import kelt.as_wandb  # before anything that imports wandb

`kelt run train.py`, or `python -m kelt.as_wandb train.py`, does it for a script that stays as it
is. How it works, and what is answered: `kelt.wandb_api`.
"""

import os
import sys

from kelt.wandb_api.placing import answer_imports

answer_imports(sys.path, os.environ, sys.modules)
