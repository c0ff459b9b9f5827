"""Builds the wheel and fails unless it holds exactly the four packages, whole, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    "kelt": ROOT / "sdk/kelt",
    "kelt_proto": ROOT / "proto/kelt_proto",
    "kelt_daemon": ROOT / "daemon/kelt_daemon",
    "kelt_server": ROOT / "server/kelt_server",
}


def tracked(folder: Path) -> set[str]:
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", str(folder)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return {str((ROOT / line).relative_to(folder.parent)) for line in listed.stdout.splitlines()}


def built() -> set[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "-w", folder, str(ROOT)]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("kelt-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return {
                name
                for name in archive.namelist()
                if not name.partition("/")[0].endswith(".dist-info")
            }


def main() -> int:
    expected = set().union(*(tracked(folder) for folder in SOURCES.values()))
    found = built()
    for name in sorted(expected - found):
        print(f"missing from the wheel: {name}", file=sys.stderr)
    for name in sorted(found - expected):
        print(f"not expected in the wheel: {name}", file=sys.stderr)
    markers = {f"{package}/py.typed" for package in SOURCES}
    for name in sorted(markers - found):
        print(f"missing from the wheel: {name}", file=sys.stderr)
    if found != expected or markers - found:
        return 1
    print(f"the wheel holds {len(found)} files of {', '.join(SOURCES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
