"""`kelt sync`: what waits, have it sent, and see it arrive."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kelt.cli.daemon_commands import settings
from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.options import AsJson
from kelt.cli.sync_problems import problems_of
from kelt.cli.sync_view import (
    result_dict,
    run_dict,
    run_sentence,
    table,
    totals,
    waiting_totals,
)
from kelt.cli.terminal import console, print_table, say, say_json
from kelt.cli.wording import plain

if TYPE_CHECKING:
    from rich.progress import TaskID

    from kelt.settings import Settings
    from kelt.syncing.engine import OnProgress, SyncPlan
    from kelt.syncing.outcome import SyncedRun, SyncResult

#: More bars than that do not fit on a screen; the report at the end names all runs.
_BARS_MAX = 20
_WAIT_S = 15.0


def sync(  # the options
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Run folders, W&B's .wandb files, TensorBoard's event files, MLflow's stores, "
            "Neptune's exported files, or folders of them; without any, all runs that wait here.",
        ),
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would be sent.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Follow runs that are still being written, until they end or Ctrl-C."
        ),
    ] = False,
    upstream: Annotated[
        str | None,
        typer.Option(
            "--upstream",
            metavar="URL",
            help="Send them to this server, and from now on, whatever they were logged for.",
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            metavar="NAME",
            help="Of runs that TensorBoard, MLflow or Neptune wrote; W&B's and kelt's have one.",
        ),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option("--entity", metavar="NAME", help="Likewise; the server's default without it."),
    ] = None,
    include_synced: Annotated[
        bool | None,
        typer.Option(
            "--include-synced/--skip-synced",
            help="Also those that are known to be upstream; by default those that are named.",
            show_default=False,
        ),
    ] = None,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="How long to wait while the upstream cannot be reached.",
        ),
    ] = _WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Send runs that wait, such as offline ones.

    Lists what waits, asks on a terminal, and ends when the upstream has committed it. Repeating it
    is safe, and so is interrupting it: what is already there is not sent again. --json prints a
    run a line, and a line with the totals.
    """
    from kelt.syncing.engine import plan_sync, run_sync  # noqa: PLC0415 # loads protobuf
    from kelt.syncing.named_paths import checked_target  # noqa: PLC0415 # as above

    chosen = _settings(upstream)
    asks = not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty()
    with _reading(is_quiet=as_json or not paths):
        plan = plan_sync(
            [_folder(path) for path in paths] if paths else None,
            settings=chosen,
            upstream=chosen.upstream.rstrip("/") if upstream else "",
            live=live,
            include_synced=include_synced,
            wait_s=wait_s,
            keeps=not dry_run,
            sends_early=not (dry_run or asks),
            target=checked_target("--", project, entity),
        )
    if not plan.runs and not plan.missing:
        if as_json:
            say_json(result_dict(plan.dry_result()))
        else:
            say("Nothing waits to be sent.")
        return
    if not as_json:
        _list(plan, chosen)
    if dry_run:
        _end(plan.dry_result(), {}, as_json=as_json)
        return
    if asks:
        typer.confirm("Send them?", default=True, abort=True)
    told = _Told()
    with _shown(told, is_quiet=as_json) as show:
        result = run_sync(plan, settings=chosen, on_progress=show)
    problems = {} if result.is_interrupted else problems_of(result.runs, chosen)
    for run in () if as_json else result.runs:
        told.tell(run)
        for problem in problems.get(run.path, ()):
            say(plain(f"{run.name}: {problem}"))
    _end(result, problems, as_json=as_json)


@contextlib.contextmanager
def _reading(*, is_quiet: bool) -> Iterator[None]:
    """Large files take a while: a terminal is told so."""
    said = "Reading what is to be sent …"
    is_shown = not is_quiet and sys.stdout.isatty()
    try:
        with console(sys.stdout).status(said) if is_shown else contextlib.nullcontext():
            yield
    except KeyboardInterrupt as error:
        raise CliError(
            "Interrupted while reading; nothing is lost by it. Run `kelt sync` again to go on.",
            code=ExitCode.INTERRUPTED,
        ) from error


def _settings(upstream: str | None) -> Settings:
    if not upstream:
        return settings()
    import os  # noqa: PLC0415 # here alone

    from kelt.settings import load_settings  # noqa: PLC0415 # as above

    return load_settings({"upstream": upstream}, os.environ)


def _folder(path: Path) -> Path:
    from kelt.syncing.named_paths import is_to_sync, not_to_sync  # noqa: PLC0415 # as elsewhere

    if not is_to_sync(path):
        raise CliError(not_to_sync(path), code=ExitCode.USAGE)
    return path.absolute()


def _list(plan: SyncPlan, chosen: Settings) -> None:
    from kelt.cli.daemon_commands import fetch_status  # noqa: PLC0415 # may load gRPC
    from kelt.errors import KeltError  # noqa: PLC0415 # as above
    from kelt.syncing.named_paths import nothing_in  # noqa: PLC0415 # as above

    status: dict[str, Any] | None = None
    with contextlib.suppress(KeltError):
        status = fetch_status(chosen.state_dir)
    print_table(*table(plan, status=status, now=time.time()))
    for path in plan.missing:
        say(plain(nothing_in(path)))
    for run in plan.runs:
        if run.note:
            say(plain(f"{run.name}: {run.note}"))
    say(waiting_totals(plan))


@contextlib.contextmanager
def _shown(told: _Told, *, is_quiet: bool) -> Iterator[OnProgress]:
    """Bars on a terminal, elsewhere a line a run as soon as it is through."""
    if is_quiet or not sys.stdout.isatty():
        yield (lambda _: None) if is_quiet else told.tell_ended
        return
    with _bars() as show:
        yield show


class _Told:
    """A line a run, as soon as it is through."""

    def __init__(self) -> None:
        self._told: set[tuple[Path, str]] = set()

    def tell_ended(self, runs: Sequence[SyncedRun]) -> None:
        """Those that are through and were not told of yet."""
        for run in runs:
            if run.is_synced or run.error:
                self.tell(run)

    def tell(self, run: SyncedRun) -> None:
        """Once."""
        if (run.path, run.name) not in self._told:  # a store has many runs
            self._told.add((run.path, run.name))
            say(plain(run_sentence(run)))


@contextlib.contextmanager
def _bars() -> Iterator[OnProgress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console(sys.stdout),
        transient=True,
    )
    tasks: dict[Path, TaskID] = {}

    def show(runs: Sequence[SyncedRun]) -> None:
        for run in runs[:_BARS_MAX]:
            if run.path not in tasks:
                tasks[run.path] = progress.add_task(plain(run.name), total=None)
            progress.update(tasks[run.path], total=run.records, completed=run.committed)

    with progress:
        yield show


def _end(result: SyncResult, problems: Mapping[Path, Sequence[str]], *, as_json: bool) -> None:
    if as_json:
        for run in result.runs:
            say_json({**run_dict(run), "problems": list(problems.get(run.path, ()))})
        say_json(result_dict(result))
    else:
        for line in totals(result):
            say(line)
    if result.is_interrupted:
        raise CliError(result.error, code=ExitCode.INTERRUPTED)
    if result.error:
        code = ExitCode.UNREACHABLE if result.is_unreachable else ExitCode.FAILED
        raise CliError(result.error, code=code)
