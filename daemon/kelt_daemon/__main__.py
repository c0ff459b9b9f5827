"""`python -m kelt_daemon run --state-dir D`: what `kelt.launcher` and `kelt daemon run` start.

Exit codes: 0 it was told to stop or idle, 1 the folder cannot be used, 3 another daemon runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
from pathlib import Path

from kelt.state_dir import StateDir

EXIT_UNUSABLE = 1
_NO_LISTENING = (
    "The daemon cannot listen on {!r}: it serves its own user over a Unix socket alone. Unset "
    "KELT_DAEMON_LISTEN, and let programs on other machines or in other containers use a daemon of "
    "their own."
)
EXIT_ALREADY_RUNNING = 3
#: Each live run takes three descriptors (process, journal, connection), and 1,024 is a usual limit.
_OPEN_FILES_MAX = 32_768


def main(arguments: list[str]) -> int:
    """Runs the daemon; returns the exit code."""
    parser = argparse.ArgumentParser(prog="kelt_daemon", description="The kelt sidecar daemon.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="serve a state folder in the foreground")
    run.add_argument("--state-dir", type=Path, required=True, help="the state folder (KELT_DIR)")
    run.add_argument("--idle-exit-s", type=float, help="how long to stay without live runs")
    run.add_argument("--ready-fd", type=int, help="a descriptor that is told when it is ready")
    chosen = parser.parse_args(arguments)
    # structlog loads rich where it finds it, for colours that a log file has no use for: 5 MiB.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # means: cannot be imported
    # Imported here: gRPC takes long to load, and a mistake in the arguments is told at once.
    from kelt_daemon.daemon import run_daemon  # noqa: PLC0415
    from kelt_daemon.errors import AlreadyRunningError  # noqa: PLC0415

    os.umask(0o077)
    # Keys are held in memory: no image of it on a disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _allow_open_files()
    if listen := os.environ.get("KELT_DAEMON_LISTEN"):
        print(_NO_LISTENING.format(listen[:100]), file=sys.stderr)  # noqa: T201 # as below
        return EXIT_UNUSABLE
    try:
        run_daemon(
            StateDir(chosen.state_dir.expanduser().absolute()),
            idle_exit_s=chosen.idle_exit_s,
            ready_fd=chosen.ready_fd,
            environ=os.environ,
        )
    except AlreadyRunningError as error:
        print(error, file=sys.stderr)  # noqa: T201 # the caller reads it
        return EXIT_ALREADY_RUNNING
    except OSError as error:
        print(f"The daemon cannot run: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_UNUSABLE
    return 0


def _allow_open_files() -> None:
    """As many as a thousand runs and more need, where the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
