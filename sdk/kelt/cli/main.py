"""The entry point: commands, exit codes, and errors in one sentence."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from kelt.cli import (
    daemon_commands,
    doctor_command,
    export_command,
    run_command,
    runs_commands,
    status_command,
    sync_command,
)
from kelt.cli.exit_codes import MEANINGS, CliError, ExitCode
from kelt.cli.programs import DEMO_MODULES, SERVER_MODULES, become, require_extra
from kelt.cli.terminal import say
from kelt.cli.wording import plain
from kelt.errors import (
    DaemonStartError,
    DaemonUnavailableError,
    KeltError,
    UsageError,
)
from kelt.version import __version__

#: `kelt run` has options of its own in front of the script's name.
_OF_ANOTHER = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
}

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
_CLICK_ERROR: type[Exception] = _USAGE_ERROR.__mro__[1]
#: `kelt server` and `kelt demo` hand their arguments on; the programs know them better.
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

_EXIT_CODES = "\b\nExit codes:\n" + "\n".join(
    f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()
)

app = typer.Typer(
    help="Experiment tracking that loses no row.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(runs_commands.app, name="runs")
app.add_typer(daemon_commands.app, name="daemon")
app.command(
    "run",
    context_settings=_OF_ANOTHER,
    options_metavar="[OPTIONS] SCRIPT | -m MODULE | PROGRAM [ARGUMENTS]...",
)(run_command.run)
app.command("status")(status_command.status)
app.command("sync")(sync_command.sync)
app.command("export", short_help="Write runs into files: Parquet, CSV, JSON, W&B's.")(
    export_command.export
)
app.command("doctor")(doctor_command.doctor)


def _say_version(*, wanted: bool) -> None:
    if wanted:
        say(f"kelt {__version__}")
        raise typer.Exit


@app.callback()
def _kelt(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _say_version(wanted=wanted),
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Experiment tracking that loses no row."""


@app.command("server", context_settings=_PASSED_ON, add_help_option=False)
def server(context: typer.Context) -> None:
    """Run a server on this machine."""
    require_extra("server", SERVER_MODULES)
    become("kelt_server", context.args)


@app.command("demo", context_settings=_PASSED_ON, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Train, fork, rewind, crash, and check every row."""
    require_extra("demo", DEMO_MODULES)
    become("kelt.demo", context.args)


def main() -> None:
    """Runs the command line and exits."""
    # Curves and other people's texts go through any terminal, if not in their full beauty.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; every error becomes a sentence on stderr."""
    try:
        code = app(arguments, prog_name="kelt", standalone_mode=False)
        return int(code) if isinstance(code, int) else ExitCode.OK
    except SystemExit as ended:
        # Typer ends so when whoever reads our output, such as `head`, has seen enough.
        if isinstance(ended.__context__, BrokenPipeError):
            return ExitCode.OK
        raise
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        sys.stderr.write(_message(error) + "\n")
        return code


def exit_code(error: Exception) -> ExitCode | None:
    """The exit code of an error that has been foreseen."""
    if isinstance(error, CliError):
        return error.code
    if isinstance(error, UsageError | _USAGE_ERROR):
        return ExitCode.USAGE
    from kelt.api_client.errors import UnreachableError  # noqa: PLC0415 # loads httpx

    if isinstance(error, UnreachableError | DaemonUnavailableError | DaemonStartError):
        return ExitCode.UNREACHABLE
    if isinstance(error, KeltError | OSError | _CLICK_ERROR):
        return ExitCode.FAILED
    return None


def _message(error: Exception) -> str:
    if not isinstance(error, _CLICK_ERROR):
        return f"kelt: {plain(str(error))}"
    said: str = error.format_message()  # type: ignore[attr-defined] # a class without a public name
    if said.startswith("Usage:"):  # a group without a command: its help
        return said
    said = " ".join(said.split())  # the choices of an option come in lines
    context = getattr(error, "ctx", None)
    command = "kelt" if context is None else context.command_path
    return f"kelt: {plain(said.rstrip('.'))}. See `{command} --help`."


if __name__ == "__main__":
    main()
