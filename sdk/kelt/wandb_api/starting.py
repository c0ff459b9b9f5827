"""wandb's functions: they open runs, and act on the current one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import kelt
from kelt.active import active
from kelt.active_run import Run as KeltRun
from kelt.errors import KeltError
from kelt.wandb_api.carrying import carried_config
from kelt.wandb_api.describing import Config, NotStarted, Summary, plain_mapping
from kelt.wandb_api.settings import kelt_mode, kelt_resume, named_by_kelt, of_environment
from kelt.wandb_api.wandb_run import Run

#: Runs under a script's `dir`, as wandb's are in its folder `wandb`.
_RUNS = "kelt-runs"
_runs: dict[KeltRun, Run] = {}


def _as_wandbs(run: KeltRun) -> Run:
    """An open run as scripts see it; each has one such face."""
    found = _runs.get(run)
    if found is None:
        for ended in [known for known in _runs if known not in active.all]:
            del _runs[ended]
        found = _runs[run] = Run(run)
    return found


def init(  # noqa: PLR0917 # wandb's order
    entity: str | None = None,
    project: str | None = None,
    dir: Any = None,  # noqa: A002 # wandb's name
    id: str | None = None,  # noqa: A002 # as above
    name: str | None = None,
    notes: str | None = None,
    tags: Iterable[str] | None = None,
    config: Any = None,
    config_exclude_keys: Iterable[str] | None = None,
    config_include_keys: Iterable[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: Any = None,
    resume: Any = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Any = None,
    **more: Any,
) -> Run:
    """Opens a run by `kelt.init`; what wandb has beyond that is left out with a warning.

    Raises:
        UsageError: an argument that cannot be.
    """
    del allow_val_change, force, more
    left_out: list[str] = []
    given = {
        "entity": entity, "project": project, "run_id": id, "name": name, "notes": notes,
        "tags": None if tags is None else [tags] if isinstance(tags, str) else list(tags),
        "group": group, "job_type": job_type, "mode": mode, "reinit": reinit, "resume": resume,
    }  # fmt: skip
    chosen = of_environment(os.environ) | named_by_kelt(settings)
    chosen |= {key: value for key, value in given.items() if value is not None}
    if "mode" in chosen:
        chosen["mode"] = kelt_mode(chosen["mode"])
    if "resume" in chosen:
        chosen["resume"] = None if fork_from or resume_from else kelt_resume(chosen["resume"])
    if dir is not None:
        chosen["run_dir"] = Path(dir) / _RUNS
    values = plain_mapping(config, exclude=config_exclude_keys, include=config_include_keys)
    run = _as_wandbs(
        kelt.init(
            config=carried_config(values, left_out.append),
            fork_from=fork_from,
            resume_from=resume_from,
            settings={key: value for key, value in chosen.items() if value is not None},
        )
    )
    wanted = {
        "save_code": save_code, "monitor_gym": monitor_gym,
        "sync_tensorboard": tensorboard or sync_tensorboard,
    }  # fmt: skip
    for kind in (*left_out, *(f"{option}=True" for option, is_on in wanted.items() if is_on)):
        run._left_out(kind)  # noqa: SLF001 # this package's own
    return run


def current_run() -> Run | None:
    """`wandb.run`."""
    return None if active.current is None else _as_wandbs(active.current)


def current_config() -> Config | NotStarted:
    """`wandb.config`."""
    run = current_run()
    return NotStarted("wandb.config") if run is None else run.config


def current_summary() -> Summary | NotStarted:
    """`wandb.summary`."""
    run = current_run()
    return NotStarted("wandb.summary") if run is None else run.summary


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """Ends the current run, if there is one."""
    kelt.finish(exit_code, quiet)


join = finish


def teardown(exit_code: int | None = None) -> None:
    """Ends every open run."""
    for run in active.all:
        run.finish(exit_code)


def _of_run(name: str) -> Callable[..., Any]:
    """The function that is a method of the current run."""

    def call(*args: Any, **named: Any) -> Any:
        run = current_run()
        if run is None:
            raise KeltError(f"You must call wandb.init() before wandb.{name}()")
        return getattr(run, name)(*args, **named)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"See `Run.{name}`."
    return call


log = _of_run("log")
define_metric = _of_run("define_metric")
watch = _of_run("watch")
unwatch = _of_run("unwatch")
save = _of_run("save")
alert = _of_run("alert")
mark_preempting = _of_run("mark_preempting")
pin_config_keys = _of_run("pin_config_keys")
log_artifact = _of_run("log_artifact")
use_artifact = _of_run("use_artifact")
log_model = _of_run("log_model")
use_model = _of_run("use_model")
link_model = _of_run("link_model")


def login(*_args: Any, **_named: Any) -> bool:
    """There is nobody to log in; a server's key is KELT_API_KEY."""
    return True


def setup(*_args: Any, **_named: Any) -> None:
    """Nothing to set up: kelt starts with the first run."""


ensure_configured = require = setup
