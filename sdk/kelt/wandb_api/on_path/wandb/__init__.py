"""`import wandb`, answered by kelt: see kelt.wandb_api."""

import sys

try:
    from kelt.wandb_api.modules import answer_package
except ModuleNotFoundError as error:
    if error.name not in {"kelt", "kelt.wandb_api"}:
        raise
    raise ImportError(
        f"kelt answers `import wandb` here, and is not installed in {sys.executable}: "
        "pip install kelt there, or take kelt's folder out of PYTHONPATH."
    ) from error

answer_package(sys.modules[__name__])
