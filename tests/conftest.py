"""What all tests share."""

import os
import sys

pytest_plugins = ["harness.fault_counts"]

# Tests start hundreds of processes, each of which would compile every module that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
