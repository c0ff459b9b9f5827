"""`kelt status`: what this host is carrying upstream."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from kelt.cli.daemon_commands import daemon_lines, fetch_status, settings
from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.options import AsJson
from kelt.cli.terminal import heading, note, print_table, say, say_json


def status(
    *,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also runs that are wholly upstream.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what this host is carrying upstream.

    The daemon, its upstreams, and the runs that are live, wait or have a problem. Exit code 3
    where no daemon runs.
    """
    state_dir = settings().state_dir
    reply = fetch_status(state_dir)
    if as_json:
        say_json(reply or {"state_dir": str(state_dir.root), "running": False})
    if reply is None:
        raise CliError(
            f"No daemon runs for {state_dir.root}, so nothing is being sent. "
            "The next run starts one, or `kelt daemon start`; `kelt sync` sends what waits.",
            code=ExitCode.UNREACHABLE,
        )
    if not as_json:
        _show(reply, everything=everything)


def _show(reply: dict[str, Any], *, everything: bool) -> None:
    from kelt.cli.daemon_view import (  # noqa: PLC0415 # loads protobuf
        BOUND_COLUMNS,
        RUN_COLUMNS,
        UPSTREAM_COLUMNS,
        bound_rows,
        problems,
        run_rows,
        upstream_rows,
        wants_attention,
    )

    now = time.time()
    for line in daemon_lines(reply, now=now):
        say(line)
    if reply["upstreams"]:
        heading("Upstreams")
        print_table(UPSTREAM_COLUMNS, upstream_rows(reply["upstreams"], now=now))
    chosen = [run for run in reply["runs"] if everything or wants_attention(run)]
    if chosen:
        heading("Runs")
        print_table(RUN_COLUMNS, run_rows(chosen, now=now))
    if near := bound_rows(reply):
        heading("Bounds")
        print_table(BOUND_COLUMNS, near)
    if sentences := problems(reply):
        heading("Problems")
        for sentence in sentences:
            say(f"  {sentence}")
    if hidden := len(reply["runs"]) - len(chosen):
        what = "1 more is" if hidden == 1 else f"{hidden:,} more are"
        note(f"{what} wholly upstream (--all shows them).")
