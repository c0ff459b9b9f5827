"""`kelt daemon`: the daemon of this user and state folder."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.options import AsJson
from kelt.cli.programs import become
from kelt.cli.terminal import say, say_json
from kelt.cli.wording import age, count, size
from kelt.errors import DaemonUnavailableError
from kelt.settings import Settings, load_settings
from kelt.state_dir import StateDir

#: The daemon drains what it has accepted before it goes.
STOP_TIMEOUT_S = 15.0
_POLL_S = 0.05
#: `run` hands its arguments on.
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    help="The daemon that carries runs from this host upstream.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    "run",
    short_help="Run the daemon in the foreground.",
    context_settings=_PASSED_ON,
    add_help_option=False,
)
def run_daemon(context: typer.Context) -> None:
    """Run the daemon in the foreground, as under a supervisor; Ctrl-C drains and ends it."""
    from kelt.launcher import find_daemon  # noqa: PLC0415 # only here

    state_dir = settings().state_dir
    if (place := find_daemon(state_dir)) is not None:
        raise CliError(
            f"A daemon (pid {place.pid}) runs for {state_dir.root} already. "
            "End it with `kelt daemon stop`."
        )
    state_dir.create()
    become("kelt_daemon", ["run", "--state-dir", str(state_dir.root), *context.args])


@app.command("start")
def start_daemon() -> None:
    """Start the daemon in the background, unless it runs. Runs start it by themselves."""
    from kelt.launcher import ensure_daemon  # noqa: PLC0415 # only here

    place = ensure_daemon(settings())
    who = f"pid {place.pid}, " if place.pid else ""
    state = "started" if place.started else "runs already"
    say(f"The daemon {state} ({who}socket {place.socket}).")


@app.command("stop")
def stop_daemon(
    *,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait for it.")
    ] = STOP_TIMEOUT_S,
) -> None:
    """Have the daemon write down what it has accepted, and end it. No row is lost by it."""
    from kelt.launcher import find_daemon, is_lock_held  # noqa: PLC0415 # only here
    from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

    state_dir = settings().state_dir
    place = find_daemon(state_dir)
    if place is None:
        say(f"No daemon runs for {state_dir.root}.")
        return
    try:
        with SidecarClient(socket=place.socket) as client:
            client.stop()
    except DaemonUnavailableError as error:
        raise CliError(
            f"{error} Should it go on like this, `kill -9 {place.pid or 'PID'}` ends the daemon; "
            "no row is lost by it.",
            code=ExitCode.UNREACHABLE,
        ) from error
    deadline = time.monotonic() + timeout_s
    # Not whether it answers: while it ends, its successor cannot start.
    while is_lock_held(state_dir.daemon_lock):
        if time.monotonic() > deadline:
            raise CliError(
                f"The daemon (pid {place.pid}) has not ended within {timeout_s:g} s. "
                "Look at `kelt daemon logs`, or wait longer with --timeout."
            )
        time.sleep(_POLL_S)
    say("The daemon has ended.")


@app.command("status", short_help="Whether the daemon runs, and what it holds.")
def daemon_status(*, as_json: AsJson = False) -> None:
    """Whether the daemon runs (exit code 3 if not), since when, and how much it holds."""
    state_dir = settings().state_dir
    reply = fetch_status(state_dir)
    if as_json:
        say_json(reply or {"state_dir": str(state_dir.root), "running": False})
    elif reply is not None:
        for line in daemon_lines(reply, now=time.time()):
            say(line)
    if reply is None:
        raise CliError(
            f"No daemon runs for {state_dir.root}. "
            "The next run starts one, or `kelt daemon start`.",
            code=ExitCode.UNREACHABLE,
        )


@app.command("logs")
def daemon_logs(
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Wait for more.")] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=0, help="How many to show.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """The daemon's log."""
    from kelt.cli.log_lines import follow_lines, last_lines, readable  # noqa: PLC0415 # only here

    path = settings().state_dir.logs / "daemon.log"
    if not path.exists() and not follow:
        raise CliError(f"There is no log at {path}: no daemon has run for this state folder.")
    found, end_bytes = last_lines(path, lines)
    for line in found:
        say(line if as_json else readable(line))
    if follow:
        for line in follow_lines(path, from_bytes=end_bytes, sleep=time.sleep):
            say(line if as_json else readable(line))


def settings() -> Settings:
    """The settings in force for this command."""
    return load_settings({}, os.environ)


def fetch_status(state_dir: StateDir) -> dict[str, Any] | None:
    """What the daemon says of itself, as JSON has it; None where none runs.

    Raises:
        DaemonError: it runs and does not answer.
    """
    from kelt.launcher import find_daemon  # noqa: PLC0415 # only here

    place = find_daemon(state_dir)
    if place is None:
        return None
    from kelt.cli.daemon_view import status_dict  # noqa: PLC0415 # loads protobuf
    from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

    with SidecarClient(socket=place.socket) as client:
        return status_dict(client.status())


def daemon_lines(status: dict[str, Any], *, now: float) -> list[str]:
    """The daemon in a few lines."""
    runs = status["runs"]
    backlog = sum(run["durable_records"] - run["committed_records"] for run in runs)
    age_text = age(now - status["started_at"])
    held = f"{size(status['journal_bytes'])}, {count(len(runs), 'run')}"
    return [
        f"daemon   pid {status['pid']}, version {status['version']}, up for {age_text}",
        f"folder   {Path(status['state_dir'])}",
        f"journal  {held}, {count(backlog, 'record')} not yet upstream",
    ]
