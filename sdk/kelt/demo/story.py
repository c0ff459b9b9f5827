"""What happens in the demo, in order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import kelt
from kelt.demo.comparison import Expectation, read_plain_file, row_differences, up_to
from kelt.demo.processes import DemoError, Workshop
from kelt.demo.report import result_table
from kelt.server_process import ServerProcess

BASELINE_LAST_STEP = 300
FORK_STEP = 150
REWIND_STEP = 200
KILL_AT_ROWS = 80
RAISE_AT_STEP = 60
TRAINER_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 60.0


def tell(folder: Path, console: Console, *, keep: bool) -> int:
    """Runs the whole story.

    Returns:
        0 where the server holds exactly what was logged, else 1.
    """
    server = ServerProcess(folder / "server")
    server.folder.mkdir(parents=True)
    server.start()
    workshop = Workshop(folder, server.url)
    try:
        expectations = _train(server, workshop, console)
        console.print("[dim]waiting until the server holds everything …[/dim]")
        differences = _settle(expectations, server.url)
        console.print(result_table(_all_runs(server.url)))
        for sentence in differences:
            console.print(f"[red]difference:[/red] {sentence}")
        rows = sum(len(e.rows) for e in expectations)
        if not differences:
            console.print(
                f"[green]The server holds exactly what was logged:[/green] {rows} rows of "
                f"{len(expectations)} histories compared, none lost, none doubled, none changed."
            )
        if keep:
            console.print(
                f"The server stays up: {server.url} (stop it with: kill {server.pid})\n"
                f"The state folder is {folder / 'state'}"
            )
        return 1 if differences else 0
    finally:
        workshop.daemon("stop")
        if not keep:
            server.stop()


def _train(server: ServerProcess, workshop: Workshop, console: Console) -> list[Expectation]:
    def run_to_end(title: str, name: str, run_id: str, last_step: int, **options: object) -> int:
        console.print(f"[bold]{title}[/bold]")
        process = workshop.start_trainer(name, run_id, last_step, **options)
        return _watch(process, workshop.plain_file(name), console)

    _expect(run_to_end("baseline", "baseline", "baseline", BASELINE_LAST_STEP), 0)
    baseline = read_plain_file(workshop.plain_file("baseline"))
    old_branch = _poll(lambda: _run(server.url, "baseline").immutable_id, "the baseline")

    console.print("[yellow]the server is stopped; training goes on[/yellow]")
    server.stop()
    _expect(
        run_to_end(
            f"fork of the baseline from step {FORK_STEP}, ten times the learning rate",
            "fork", "fork", BASELINE_LAST_STEP,
            fork_from=f"baseline?_step={FORK_STEP}", learning_rate=0.01,
        ),
        0,
    )  # fmt: skip
    console.print("[bold]a run whose trainer is killed with SIGKILL[/bold]")
    victim = workshop.start_trainer("killed", "killed", 10_000, pace_s=0.01)
    _expect(_kill_at(victim, workshop.plain_file("killed"), console), -signal.SIGKILL)
    console.print("[yellow]the server is started again[/yellow]")
    server.start()
    _expect(
        run_to_end(
            f"the baseline rewound to step {REWIND_STEP} and continued",
            "rewound", "baseline", BASELINE_LAST_STEP + 50,
            resume_from=f"baseline?_step={REWIND_STEP}", learning_rate=0.0005,
        ),
        0,
    )  # fmt: skip
    _expect(run_to_end("a run that raises", "raises", "raises", 200, raise_at=RAISE_AT_STEP), 1)

    def plain(name: str) -> dict[int, Any]:
        return read_plain_file(workshop.plain_file(name))

    fork = up_to(baseline, FORK_STEP) | plain("fork")
    rewound = up_to(baseline, REWIND_STEP) | plain("rewound")
    return [
        Expectation("baseline, rewound", "baseline", "finished", rewound),
        Expectation(
            "baseline, archived", "baseline", "finished", baseline, archived_branch=old_branch
        ),
        Expectation("fork", "fork", "finished", fork),
        Expectation(
            "killed", "killed", "crashed", plain("killed"), "SIGKILL", last_row_may_miss=True
        ),
        Expectation("raises", "raises", "failed", plain("raises"), "RuntimeError"),
    ]


def _watch(process: Any, plain_file: Path, console: Console) -> int:
    """Shows how far a trainer is until it ends."""
    deadline = time.monotonic() + TRAINER_TIMEOUT_S
    with console.status("starting") as status:
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                raise DemoError("a trainer took too long")
            status.update(f"{_lines(plain_file)} rows logged")
            time.sleep(0.1)
    code: int = process.returncode
    console.print(f"  {_lines(plain_file)} rows logged, exit code {code}")
    return code


def _kill_at(process: Any, plain_file: Path, console: Console) -> int:
    deadline = time.monotonic() + TRAINER_TIMEOUT_S
    while _lines(plain_file) < KILL_AT_ROWS:
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError("the trainer to be killed ended by itself")
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    code: int = process.wait()
    console.print(f"  {_lines(plain_file)} rows logged, exit code {code}")
    return code


def _lines(plain_file: Path) -> int:
    return plain_file.read_bytes().count(b"\n") if plain_file.exists() else 0


def _expect(code: int, expected: int) -> None:
    if code != expected:
        raise DemoError(f"a trainer ended with {code} instead of {expected}; see trainers.log")


def _run(url: str, run: str) -> Any:
    return kelt.Api(upstream=url).run(f"digits/{run}")


def _all_runs(url: str) -> list[Any]:
    return list(kelt.Api(upstream=url).runs("digits", order="+created_at"))


def _poll(ask: Callable[[], Any], thing: str) -> Any:
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        try:
            return ask()
        except kelt.KeltError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"{thing} did not reach the server: {error}") from error
            time.sleep(0.2)


def _settle(expectations: list[Expectation], url: str) -> list[str]:
    """Waits until nothing differs, or the time is up; the differences that are left."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        differences = [f"{e.title}: {d}" for e in expectations for d in _differences(e, url)]
        if not differences or time.monotonic() > deadline:
            return differences
        time.sleep(0.5)


def _differences(expectation: Expectation, url: str) -> list[str]:
    try:
        run = _run(url, expectation.archived_branch or expectation.run_id)
    except kelt.KeltError as error:
        return [str(error)]
    differences = row_differences(
        expectation.rows, run.scan_history(), last_row_may_miss=expectation.last_row_may_miss
    )
    if run.state != expectation.state:
        differences.append(f"its state is {run.state} instead of {expectation.state}")
    if expectation.reason_has not in (run.state_reason or ""):
        differences.append(f"its reason {run.state_reason!r} lacks {expectation.reason_has!r}")
    return differences
