"""Writes constraints.txt from environments in which the tests passed.

    scripts/write_constraints.py FLOOR_PYTHON NEWER_PYTHON > constraints.txt

Both are interpreters of environments with `kelt[test]` installed, the first of the oldest
Python that kelt supports. Where the two differ, lines carry a marker.
"""

from __future__ import annotations

import json
import subprocess
import sys

OWN = {"kelt", "pip", "setuptools", "wheel"}


def installed(python: str) -> dict[str, str]:
    command = [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {item["name"].lower(): item["version"] for item in listed if item["name"] not in OWN}


def main() -> None:
    floor, newer = installed(sys.argv[1]), installed(sys.argv[2])
    print("# What was tested: names and versions, by scripts/write_constraints.py.")
    for name in sorted(floor.keys() | newer.keys()):
        old, new = floor.get(name), newer.get(name)
        if old == new or new is None or old is None:
            print(f"{name}=={old or new}")
        else:
            print(f'{name}=={old}; python_version < "3.11"')
            print(f'{name}=={new}; python_version >= "3.11"')


if __name__ == "__main__":
    main()
