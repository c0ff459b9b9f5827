"""`kelt export`: runs from the server, or from the disk, into files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.options import AsJson, UpstreamOption
from kelt.cli.programs import SERVER_MODULES, require_extra
from kelt.cli.terminal import note, say, say_json
from kelt.cli.wording import count, plain
from kelt.exporting.formats import ExportFormat

if TYPE_CHECKING:
    from kelt.api_client import Api
    from kelt.exporting.run_export import ExportOptions
    from kelt.exporting.server_run import ServerRun

#: A name that begins so is a path.
_PATH_BEGINS = (".", "/", "~")
_SUFFIXES = tuple(f".{chosen.value}" for chosen in ExportFormat if chosen != ExportFormat.WANDB)


def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="[ENTITY/]PROJECT/RUN, an immutable id, a PROJECT for all its runs, or what "
            "`kelt sync` takes (a path that begins with . / or ~); with --project, names in it.",
            show_default=False,
        ),
    ] = None,
    *,
    chosen: Annotated[
        ExportFormat,
        typer.Option(
            "--format", "-f", help="wandb makes a folder that `wandb sync` and `kelt sync` take."
        ),
    ],
    project: Annotated[
        str | None,
        typer.Option(
            "--project", metavar="[ENTITY/]PROJECT", help="All its runs, or the named ones of it."
        ),
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="The runs of all projects.")] = False,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH",
            help="Where each run's folder goes; or, for one run, a file whose name ends as its "
            "format does, for its rows alone.",
        ),
    ] = Path(),
    keys: Annotated[
        list[str] | None,
        typer.Option("--key",
            metavar="METRIC", help="Only this metric (repeatable), and the rows that have it."),
    ] = None,
    files: Annotated[
        bool | None,
        typer.Option("--files/--no-files", help="The files, too.  [wandb: yes, others: no]"),
    ] = None,
    console: Annotated[
        bool | None,
        typer.Option("--console/--no-console", help="The console, too.  [likewise]"),
    ] = None,
    system: Annotated[
        bool | None,
        typer.Option("--system/--no-system", help="System metrics, too.  [likewise]"),
    ] = None,
    branch_point: Annotated[
        bool,
        typer.Option(
            "--branch-point",
            help="wandb: a fork names its parent, which the other server must have, instead of "
            "having its rows.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave runs out whose folder is there already.")
    ] = False,
    upstream: UpstreamOption = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write runs into files: their whole histories, through forks and rewinds.

    A run's folder is there once it is whole. One run that fails stops no other. --json prints a
    run a line.
    """
    from kelt.api_client import Api  # noqa: PLC0415 # loads httpx
    from kelt.exporting.run_export import ExportOptions  # noqa: PLC0415 # as above

    is_wandb = chosen is ExportFormat.WANDB
    if is_all + bool(names or project is not None) != 1:
        raise _misused("Name runs, or --project, or --all: one of these.")
    if force and skip_existing:
        raise _misused("--force and --skip-existing exclude each other.")
    options = ExportOptions(
        chosen=chosen,
        keys=keys,
        has_files=is_wandb if files is None else files,
        has_console=is_wandb if console is None else console,
        has_system=is_wandb if system is None else system,
        is_branch_kept=branch_point,
        replaces=force,
    )
    is_file = output.suffix in _SUFFIXES and not output.is_dir()
    _check(options, output if is_file else None)
    paths = [Path(name).expanduser() for name in names or () if name.startswith(_PATH_BEGINS)]
    unread = 0
    with ExitStack() as stack:
        if paths:
            if len(paths) != len(names or ()) or project is not None or upstream is not None:
                raise _misused(
                    "Paths, which begin with . / or ~, do not go together with runs of a server."
                )
            runs, unread = _disk_runs(stack, paths, output.parent if is_file else output)
        else:
            api = stack.enter_context(Api(upstream))
            runs = _runs(api, names or [], project, is_all=is_all)
            if not runs:
                note("There are no runs there; `kelt runs ls` lists what is there.")
        targets = _targets(runs, output, chosen, is_file=is_file)
        failed = unread
        for run, target in zip(runs, targets, strict=True):
            failed += not _export(run, target, options, skips=skip_existing, as_json=as_json)
    if failed:
        number = count(len(targets) + unread, "run")
        raise CliError(f"{failed:,} of {number} could not be exported; the lines above say why.")


def _disk_runs(
    stack: ExitStack, paths: Sequence[Path], output: Path
) -> tuple[list[ServerRun], int]:
    """The runs at some paths, and how many cannot be read."""
    require_extra("server", SERVER_MODULES)
    from kelt.exporting.disk_runs import served  # noqa: PLC0415 # loads much
    from kelt.exporting.server_run import ServerRun  # noqa: PLC0415 # as above

    found = stack.enter_context(served(paths, output))
    for failed in found.failed:
        note(plain(f"NOT exported: {failed}"))
    for left_out in found.notes:
        note(plain(left_out))
    runs: list[ServerRun] = [
        ServerRun(api=found.api, run=found.api.run(name)) for name in found.names
    ]
    return runs, len(found.failed)


def _export(
    source: ServerRun, target: Path, options: ExportOptions, *, skips: bool, as_json: bool
) -> bool:
    """Writes a run, and says what came of it; returns whether it is there."""
    from kelt.api_client.errors import KeyRefusedError, UnreachableError  # noqa: PLC0415 # httpx
    from kelt.errors import KeltError  # noqa: PLC0415 # as above
    from kelt.exporting.run_export import export_run, is_exported  # noqa: PLC0415 # as above

    name, error, rows = "/".join(source.run.path), "", 0
    remarks: Sequence[str] = ()
    is_skipped = False
    try:
        is_skipped = skips and is_exported(source.run, target)
        if not is_skipped:
            found = export_run(source, target, options)
            rows, remarks = found.rows, found.remarks
    except (KeyRefusedError, UnreachableError):
        raise  # no other would fare better
    except KeltError as problem:
        error = str(problem)
    if as_json:
        said: dict[str, Any] = {"run": name, "immutable_id": source.run.immutable_id}
        said |= {"path": str(target), "rows": rows, "is_skipped": is_skipped}
        said |= {"error": error, "remarks": list(remarks)}
        say_json(said)
    elif error:
        say(plain(f"{name}: NOT exported: {error}"))
    elif is_skipped:
        say(plain(f"{name}: there already in {target}"))
    else:
        say(plain(f"{name}: {count(rows, 'row')} in {target}"))
        for remark in remarks:
            note(plain(remark))
    return not error


def _runs(api: Api, names: Sequence[str], project: str | None, *, is_all: bool) -> list[ServerRun]:
    from kelt.errors import RunNotFoundError  # noqa: PLC0415 # loads httpx
    from kelt.exporting.server_run import ServerRun  # noqa: PLC0415 # as above

    def of_project(path: str) -> list[ServerRun]:
        found = api.runs(path, order="+created_at", per_page=100)
        return [ServerRun(api=api, run=run) for run in found]

    if is_all:
        projects = [f"{found.entity}/{found.name}" for found in api.projects()]
        return [run for path in sorted(projects) for run in of_project(path)]
    if project is not None and not names:
        return of_project(project)
    found: list[ServerRun] = []
    for name in names:
        path = name if project is None else f"{project}/{name}"
        try:
            found.append(ServerRun(api=api, run=api.run(path)))
        except RunNotFoundError:
            more = of_project(path) if "/" not in path else []
            if not more:
                if Path(name).exists():
                    raise _misused(
                        f"{name} is no run there. For what lies here, write ./{name}"
                    ) from None
                raise
            found += more
    return found


def _check(options: ExportOptions, file: Path | None) -> None:
    """Looks whether what was asked for fits, and one file, if that is where it shall go."""
    chosen = options.chosen
    if options.is_branch_kept and chosen is not ExportFormat.WANDB:
        raise _misused("--branch-point is for --format wandb.")
    if file is None:
        return
    if file.suffix != f".{chosen.value}":
        raise _misused(
            f"{file} does not end as --format {chosen.value} does. Name a folder, or a file that "
            "ends as its format."
        )
    if options.has_files or options.has_console or options.has_system:
        raise _misused(f"{file} is a file for rows alone; for more, name a folder.")


def _targets(
    runs: Sequence[ServerRun], output: Path, chosen: ExportFormat, *, is_file: bool
) -> list[Path]:
    from kelt.exporting.run_export import default_name  # noqa: PLC0415 # loads httpx

    if is_file:
        if len(runs) != 1:
            number = count(len(runs), "run")
            raise _misused(f"{number} do not go into one file ({output}). Name a folder.")
        return [output]
    targets: dict[Path, None] = {}
    for source in runs:
        target = output / default_name(source.run, chosen)
        if target in targets:  # another run id that is alike where a file's name cannot tell it
            target = target.with_name(f"{source.run.immutable_id}-{target.name}")
        targets[target] = None
    return list(targets)


def _misused(sentence: str) -> CliError:
    return CliError(sentence, code=ExitCode.USAGE)
