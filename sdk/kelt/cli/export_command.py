"""`kelt export`: runs from the server into files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.options import AsJson, UpstreamOption
from kelt.cli.terminal import note, say, say_json
from kelt.cli.wording import count, plain
from kelt.exporting.formats import ExportFormat

if TYPE_CHECKING:
    from kelt.api_client import Api, Run

_SUFFIXES = tuple(f".{chosen.value}" for chosen in ExportFormat)


def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="[ENTITY/]PROJECT/RUN, or an immutable id; with --project, names in it.",
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
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH",
            help="A folder; or, for one run, a file whose name ends as its format does.",
        ),
    ] = Path(),
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", help="Only this metric (repeatable), and the rows that have it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    upstream: UpstreamOption = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write runs into files: their whole histories, through forks and rewinds.

    A file is there once it is whole. One run that fails stops no other. --json prints a run a line.
    """
    from kelt.api_client import Api  # noqa: PLC0415 # loads httpx
    from kelt.api_client.errors import KeyRefusedError, UnreachableError  # noqa: PLC0415 # as above
    from kelt.errors import KeltError  # noqa: PLC0415 # as above
    from kelt.exporting.run_export import export_run  # noqa: PLC0415 # as above

    failed = 0
    with Api(upstream) as api:
        runs = _runs(api, names or [], project)
        targets = _targets(runs, output, chosen)
        if not runs:
            note(f"The project {project} has no runs; `kelt runs ls` lists what is there.")
        for run, target in zip(runs, targets, strict=True):
            name = "/".join(run.path)
            error, rows = "", 0
            try:
                found = export_run(run, chosen=chosen, target=target, replaces=force, keys=keys)
                rows = found.rows
            except (KeyRefusedError, UnreachableError):
                raise  # no other would fare better
            except KeltError as problem:
                error, failed = str(problem), failed + 1
            if as_json:
                said = {"run": name, "immutable_id": run.immutable_id, "path": str(target)}
                say_json(said | {"rows": rows, "error": error})
            elif error:
                say(plain(f"{name}: NOT exported: {error}"))
            else:
                say(plain(f"{name}: {count(rows, 'row')} in {target}"))
                _warn(run)
    if failed:
        raise CliError(
            f"{failed:,} of {count(len(targets), 'run')} could not be exported; the lines above "
            "say why."
        )


def _runs(api: Api, names: Sequence[str], project: str | None) -> Sequence[Run]:
    if project is None and not names:
        raise CliError("No run was named. Name some, or --project.", code=ExitCode.USAGE)
    if project is not None and not names:
        return api.runs(project, order="+created_at", per_page=100)[:]
    return [api.run(name if project is None else f"{project}/{name}") for name in names]


def _targets(runs: Sequence[Run], output: Path, chosen: ExportFormat) -> list[Path]:
    from kelt.exporting.run_export import default_name  # noqa: PLC0415 # loads httpx

    if output.suffix in _SUFFIXES and not output.is_dir():
        if output.suffix != f".{chosen.value}" or chosen is ExportFormat.WANDB:
            raise CliError(
                f"{output} does not end as --format {chosen.value} does. Name a folder, or a file "
                "that ends as its format.",
                code=ExitCode.USAGE,
            )
        if len(runs) != 1:
            raise CliError(
                f"{count(len(runs), 'run')} do not go into one file ({output}). Name a folder.",
                code=ExitCode.USAGE,
            )
        return [output]
    targets: dict[Path, None] = {}
    for run in runs:
        target = output / default_name(run, chosen)
        if target in targets:  # another run id that is alike where a file's name cannot tell it
            target = target.with_name(f"{run.immutable_id}-{target.name}")
        targets[target] = None
    return list(targets)


def _warn(run: Run) -> None:
    if run.state == "running":
        note("It is still running: what it logs from now on is not in there.")
    if run.lost_rows:
        note(f"{count(run.lost_rows, 'row')} of it had been lost before.")
