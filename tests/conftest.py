"""What all tests share."""

import os
import sys
from pathlib import Path

import hypothesis

pytest_plugins = ["harness.fault_counts", "harness.left_processes"]

# Tests start hundreds of processes, each of which would compile every module that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("kelt", deadline=None)
hypothesis.settings.load_profile("kelt")

#: Whole installations: what begins last is waited for alone.
_LONGEST = Path(__file__).parent / "packaging"


def pytest_collection_modifyitems(items):
    """The longest tests first, so that the workers end together."""
    items.sort(key=lambda item: _LONGEST not in item.path.parents)
