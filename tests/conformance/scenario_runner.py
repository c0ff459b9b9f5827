"""Runs the scenarios that it is given, one after the other, with whatever `import wandb` gives."""

import runpy
import sys
import traceback

failed = 0
for path in sys.argv[1:]:
    try:
        runpy.run_path(path, run_name="__main__")
    except Exception:  # noqa: BLE001 # the others are run, and this one is told of
        failed += 1
        sys.stderr.write(f"{path}\n{traceback.format_exc()}")
sys.exit(1 if failed else 0)
