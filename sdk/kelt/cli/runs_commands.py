"""`kelt runs`: what the server knows of runs, and what is done to them there."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.options import AsJson, UpstreamOption
from kelt.cli.terminal import Column, heading, note, print_table, say, say_json
from kelt.cli.wording import shown

if TYPE_CHECKING:
    from kelt.api_client import Api, Run

app = typer.Typer(
    help="List, show, follow, stop and delete runs on the upstream.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: Entities and projects that a hint names.
_ENTITIES_TOLD, _PROJECTS_TOLD = 5, 10
_FILTERS_EXAMPLE = """'{"config.lr": {"$gt": 0.1}}'"""

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="[ENTITY/]PROJECT/RUN, or an immutable id.", show_default=False
    ),
]


@app.command("ls")
def list_runs(
    project: Annotated[
        str | None,
        typer.Argument(metavar="[ENTITY/]PROJECT", help="Without it: all runs of the entity."),
    ] = None,
    *,
    entity: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A team's, or another's, instead of the key's own."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Of all entities that the key opens.")
    ] = False,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Only runs in this state (repeatable)."),
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option("--filters", metavar="JSON", help=f"Conditions, as {_FILTERS_EXAMPLE}."),
    ] = None,
    order: Annotated[
        str, typer.Option(metavar="PATH", help="Sort by +PATH or -PATH.")
    ] = "-created_at",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many runs at most.")] = 50,
    upstream: UpstreamOption = None,
    as_json: AsJson = False,
) -> None:
    """Runs with state, rows and lineage, newest first."""
    conditions = _conditions(state or [], filters)
    if everything and (entity or "/" in (project or "")):
        raise CliError("--all is of all entities; name one, or --all.", code=ExitCode.USAGE)
    with _api(upstream) as api:
        whose = "*" if everything else entity
        runs = api.runs(project, conditions, order, per_page=min(limit, 1000), entity=whose)
        shown_runs = runs[:limit]
        if as_json:
            from kelt.cli.runs_view import run_json  # noqa: PLC0415 # with the API client

            for run in shown_runs:
                say_json(run_json(run))
            return
        _print_list(shown_runs, total=len(runs), project=project, has_entity=everything)
        if whose is None and not project:
            _tell_others(api, shown_runs)
        elif not runs:
            _tell_projects(api)


def _conditions(states: list[str], filters: str | None) -> dict[str, object]:
    import json  # noqa: PLC0415 # only here

    conditions: list[dict[str, object]] = []
    if states:
        conditions.append({"state": {"$in": states}})
    if filters is not None:
        try:
            parsed = json.loads(filters)
        except ValueError as error:
            raise CliError(
                f"--filters is not JSON ({error}). Write it as {_FILTERS_EXAMPLE}.",
                code=ExitCode.USAGE,
            ) from None
        if not isinstance(parsed, dict):
            raise CliError(
                f"--filters is not a JSON object. Write it as {_FILTERS_EXAMPLE}.",
                code=ExitCode.USAGE,
            )
        conditions.append(parsed)
    return conditions[0] if len(conditions) == 1 else {"$and": conditions} if conditions else {}


def _tell_others(api: Api, runs: list[Run]) -> None:
    """Which other entities the key opens: of its own runs alone nobody would know."""
    own = runs[0].entity if runs else str(api.info()["default_entity"])
    others = sorted({found.entity for found in api.projects()} - {own})
    if others:
        shown = ", ".join(others[:_ENTITIES_TOLD]) + (", …" if len(others) > _ENTITIES_TOLD else "")
        note(f"These are of {own}. There are runs of {shown} too: --entity NAME, or --all.")


def _tell_projects(api: Api) -> None:
    """What could have been meant where nothing was found."""
    found = [f"{one.entity}/{one.name}" for one in api.projects()]
    if found:
        more = f" and {len(found) - _PROJECTS_TOLD} more" if len(found) > _PROJECTS_TOLD else ""
        note(f"There is {', '.join(found[:_PROJECTS_TOLD])}{more}.")


def _print_list(runs: list[Run], *, total: int, project: str | None, has_entity: bool) -> None:
    from kelt.cli.runs_view import LIST_COLUMNS, list_row  # noqa: PLC0415 # with the API client

    if not runs:
        note("No runs here that match.")
        return
    only = project.rpartition("/")[2] if project else None
    now = time.time()
    rows = [list_row(run, now=now, project=only, has_entity=has_entity) for run in runs]
    print_table(LIST_COLUMNS, rows)
    if total > len(runs):
        note(f"{len(runs)} of {total} runs; --limit shows more.")


@app.command("show", short_help="One run: state, lineage, config, summary.")
def show_run(run: RunArgument, *, upstream: UpstreamOption = None, as_json: AsJson = False) -> None:
    """One run: state, lineage, config, summary and the course of its metrics."""
    with _api(upstream) as api:
        found = api.run(run)
        if as_json:
            from kelt.cli.runs_view import run_json  # noqa: PLC0415 # with the API client

            say_json(run_json(found))
            return
        _print_run(found)


def _print_run(run: Run) -> None:
    from kelt.cli.runs_view import (  # noqa: PLC0415 # with the API client
        WRITER_COLUMNS,
        curve,
        facts,
        lineage_lines,
        numeric_metrics,
        writer_row,
    )

    say("/".join(run.path))
    width = max(len(title) for title, _ in facts(run, now=0))
    for title, text in facts(run, now=time.time()):
        say(f"  {title:<{width}}  {text}")
    archived, forks = run.archived, run.forks
    if run.lineage or archived or forks:
        heading("Lineage")
        for line in lineage_lines(run, archived, forks):
            say(f"  {line}")
    if writers := run.writers:
        heading("Writers")
        print_table(WRITER_COLUMNS, [writer_row(one, now=time.time()) for one in writers])
    if run.config:
        heading("Config")
        print_table(
            (Column("", is_kept=False), Column("")),
            [[f"  {key}", shown(value)] for key, value in sorted(run.config.items())],
        )
    summary = {key: value for key, value in sorted(run.summary.items()) if key[:1] != "_"}
    if summary:
        metrics = numeric_metrics(summary)
        curves = run.buckets(metrics, buckets=30) if metrics else {}
        heading("Summary")
        print_table(
            (Column(""), Column(""), Column("")),
            [
                [f"  {key}", shown(value, characters_max=32), curve(curves.get(key, []))]
                for key, value in summary.items()
            ],
        )


@app.command("tail", short_help="The newest rows, then new ones as they arrive.")
def tail_run(
    run: RunArgument,
    *,
    rows: Annotated[
        int,
        typer.Option(
            "-n", "--rows", metavar="N", min=0, help="How many rows that are there already."
        ),
    ] = 10,
    follow: Annotated[
        bool, typer.Option(help="Wait for more rows while the run is running.")
    ] = True,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="METRIC", help="Only these metrics (repeatable)."),
    ] = None,
    interval_s: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="How often to look.")
    ] = 1.0,
    upstream: UpstreamOption = None,
    as_json: AsJson = False,
) -> None:
    """The newest rows, then new ones as they arrive, until the run has ended.

    A row that grows by further calls with its step is printed again. --json prints a row a line.
    """
    from kelt.cli.runs_tail import Tail  # noqa: PLC0415 # with the API client
    from kelt.cli.runs_view import tail_line  # noqa: PLC0415 # with the API client

    with _api(upstream) as api:
        tail = Tail(api=api, path=run, keys=keys or [], interval_s=interval_s, sleep=time.sleep)
        for row in tail.rows(last=rows, follow=follow):
            if as_json:
                say_json(row)
            else:
                say(tail_line(row))
        note(
            ": ".join(text for text in (tail.run.id, tail.run.state, tail.run.state_reason) if text)
        )


@app.command("logs")
def show_logs(
    run: RunArgument,
    *,
    last: Annotated[
        int | None,
        typer.Option("-n", "--last", metavar="N", min=1, help="Only the last N lines."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more while the run is running.")
    ] = False,
    label: Annotated[
        str,
        typer.Option(
            metavar="LABEL", help="Only this writer's, of a shared run.", show_default=False
        ),
    ] = "",
    interval_s: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="How often to look.")
    ] = 1.0,
    upstream: UpstreamOption = None,
    as_json: AsJson = False,
) -> None:
    """What the run wrote to its console.

    With --follow a line that is written over, as by a progress bar, is printed again.
    """
    from kelt.cli.runs_logs import (  # noqa: PLC0415 # with the API client
        ConsoleTail,
        log_json,
        log_line,
    )

    has_colours = sys.stdout.isatty()
    with _api(upstream) as api:
        tail = ConsoleTail(api=api, path=run, label=label, sleep=time.sleep, interval_s=interval_s)
        for line in tail.lines(last=last, follow=follow):
            if as_json:
                say_json(log_json(line))
            else:
                say(log_line(line.content, has_colours=has_colours))
        if tail.dropped:
            note(f"{tail.dropped} older lines are not kept.")


@app.command("stop")
def stop_runs(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="[ENTITY/]PROJECT/RUN each.", show_default=False),
    ],
    *,
    upstream: UpstreamOption = None,
) -> None:
    """Ask the processes of runs to stop, as Ctrl-C would."""
    with _api(upstream) as api:
        for path in dict.fromkeys(runs):
            run = api.run(path)
            run.stop()
            say(f"asked {'/'.join(run.path)} to stop")


@app.command("rm", short_help="Delete runs on the server.")
def remove_runs(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="[ENTITY/]PROJECT/RUN each.", show_default=False),
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    upstream: UpstreamOption = None,
) -> None:
    """Delete runs on the server, with every branch of their names and their files.

    Runs that were forked from them keep what they inherit. Run folders on hosts stay.
    """
    from kelt.cli.runs_view import LIST_COLUMNS, list_row  # noqa: PLC0415 # with the API client

    with _api(upstream) as api:
        found = [api.run(path) for path in dict.fromkeys(runs)]
        if not yes:
            print_table(
                LIST_COLUMNS, [list_row(run, now=time.time(), project=None) for run in found]
            )
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                raise CliError(
                    "Nothing was deleted, as there is no terminal to ask. Pass --yes.",
                    code=ExitCode.USAGE,
                )
            typer.confirm("Delete them with all their rows?", default=False, abort=True)
        for run in found:
            run.delete()
            say(f"deleted {'/'.join(run.path)}")


def _api(upstream: str | None) -> Api:
    from kelt.api_client import Api  # noqa: PLC0415 # loads httpx

    return Api(upstream)
