"""`python -m kelt.demo [--keep] [--dir DIR]`."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

NEEDED = {"sklearn": "scikit-learn", "numpy": "numpy", "duckdb": "duckdb"}


def main() -> int:
    """Runs the demo; the exit code is 0 only where the server held exactly what was logged."""
    parser = argparse.ArgumentParser(
        prog="kelt demo", description="train, crash, fork, rewind, check"
    )
    parser.add_argument("--keep", action="store_true", help="leave the server up and print its URL")
    parser.add_argument("--dir", type=Path, help="where to keep everything (default: a new folder)")
    arguments = parser.parse_args()
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        return _refuse(f"{', '.join(missing)} is not installed. Run: pip install 'kelt[demo]'")
    if arguments.dir is not None and arguments.dir.exists() and any(arguments.dir.iterdir()):
        return _refuse(f"{arguments.dir} is not empty. Name a new folder.")
    from kelt.demo.processes import DemoError  # noqa: PLC0415 # after the check for what it needs
    from kelt.demo.story import tell  # noqa: PLC0415 # as above
    from kelt.server_process import ServerStartError  # noqa: PLC0415 # as above

    folder = arguments.dir or Path(tempfile.mkdtemp(prefix="kelt-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=False)
    try:
        code = tell(folder.absolute(), console, keep=arguments.keep)
    except (DemoError, ServerStartError) as error:
        console.print(
            f"[red]kelt demo:[/red] {error}\nEverything is kept in {folder}", soft_wrap=True
        )
        return 1
    if code == 0 and not arguments.keep and arguments.dir is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        console.print(f"Everything is kept in {folder}", soft_wrap=True)
    return code


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"kelt demo: {sentence}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
