"""kelt: experiment tracking that loses no row.

    import kelt

    run = kelt.init("digits", config={"lr": 0.1})
    for epoch in range(10):
        kelt.log({"loss": 1 / (epoch + 1)})
    kelt.finish()

`kelt.run`, `kelt.config` and `kelt.summary` belong to the current run; `kelt.run` is None outside
of one. Importing this package loads the standard library alone; the rest is loaded by `init`, and
gRPC when the daemon is first looked for, in another thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kelt.active import active as _active
from kelt.errors import KeltError, SpoolFullError, UsageError
from kelt.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kelt.active_run import Run
    from kelt.api_client import Api
    from kelt.api_client.artifacts import StoredArtifact
    from kelt.artifacts import Artifact
    from kelt.given_settings import Settings
    from kelt.media.image import Classes, Image
    from kelt.media.recorded import Audio, Html, Molecule, Object3D, Video
    from kelt.media.table import Table
    from kelt.metric_definitions import MetricDefinition
    from kelt.run_config import RunConfig
    from kelt.run_summary import RunSummary
    from kelt.starting import RunStarter
    from kelt.syncing.outcome import SyncResult

    run: Run | None
    config: RunConfig
    summary: RunSummary
    log_artifact: Callable[..., Artifact]
    log_model: Callable[..., Artifact]
    use_artifact: Callable[..., StoredArtifact]
    use_model: Callable[..., str]

__all__ = [
    "Api",
    "Artifact",
    "Audio",
    "Classes",
    "Html",
    "Image",
    "KeltError",
    "Molecule",
    "Object3D",
    "Run",
    "Settings",
    "SpoolFullError",
    "Table",
    "UsageError",
    "Video",
    "__version__",
    "config",
    "define_metric",
    "finish",
    "init",
    "log",
    "log_artifact",
    "log_model",
    "run",
    "summary",
    "sync",
    "use_artifact",
    "use_model",
]

_NO_RUN = "kelt.{what}: no run is open; call kelt.init() first."
_LAZY = {
    "Api": "kelt.api_client",
    "Artifact": "kelt.artifacts",
    "Audio": "kelt.media.recorded",
    "Classes": "kelt.media.image",
    "Html": "kelt.media.recorded",
    "Image": "kelt.media.image",
    "Molecule": "kelt.media.recorded",
    "Object3D": "kelt.media.recorded",
    "Run": "kelt.active_run",
    "Settings": "kelt.given_settings",
    "Table": "kelt.media.table",
    "Video": "kelt.media.recorded",
}
#: What belongs to the current run.
_OF_RUN = frozenset(("config", "summary", "log_artifact", "use_artifact", "log_model", "use_model"))
_starters: list[RunStarter] = []


def init(
    project: str | None = None,
    entity: str | None = None,
    *,
    name: str | None = None,
    id: str | None = None,  # noqa: A002 # the public name
    config: Any = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    dir: str | Path | None = None,  # noqa: A002 # the public name
    mode: str | None = None,
    label: str | None = None,
    primary: bool | None = None,
    resume: str | bool | None = None,
    fork_from: str | None = None,
    resume_from: str | None = None,
    reinit: str | bool | None = None,
    settings: Mapping[str, object] | None = None,
) -> Run:
    """Opens a run, which becomes `kelt.run`.

    It does not wait for the server, except where the answer changes a run that this host does not
    know (`resume`, `fork_from`, `resume_from`), and then only `init_timeout_s`. An argument beats
    the environment (`KELT_PROJECT`, …), which beats the config file.

    Args:
        project: what the run belongs to; "Uncategorized" without one.
        entity: who owns the project; the server's default one without.
        name: shown to people; two words and a number without one.
        id: the run id, unique in the project; generated without one.
        config: what the run is given: a dict, an argparse Namespace or a dataclass.
        tags: labels.
        notes: free text.
        group: runs that belong together.
        job_type: what the run does in its group.
        dir: where this run's folder lies, instead of the state folder.
        mode: "online" (the default), "offline" (kept until `kelt sync`), "disabled", or "shared":
            this is one of several processes, on any hosts, that write the run `id` at once.
        label: in a shared run, tells this writer's rows and its end from the others'; "rank_<n>" by
            RANK or SLURM_PROCID, or host and process id, without one.
        primary: in a shared run, whether it lives and ends with this writer; without it that is
            rank 0, or, where no rank is known, whoever comes first on a host.
        resume: with `id`, go on with that run: "allow" starts it if it does not exist, "must"
            demands that it does, "never" that it does not; "auto" (or True) goes on with the run
            of this project that was last started in this folder with "auto" and did not finish.
        fork_from: "ID?_step=200": a new run that inherits ID's history up to step 200.
        resume_from: "ID?_step=200": run ID goes back to step 200; what came after is archived.
        reinit: what happens while a run is open: "return_previous" (the default) returns it,
            "finish_previous" (or True) finishes it first, "create_new" opens one beside it that
            does not become `kelt.run`.
        settings: other settings by name, such as {"finish_timeout_s": 10}.

    Raises:
        UsageError: an argument that cannot be; the message says what would do.
    """
    from kelt.given_settings import by_our_names  # noqa: PLC0415 # see the package's description
    from kelt.starting import RunStarter  # noqa: PLC0415

    if settings is not None and not isinstance(settings, Mapping):
        raise UsageError(
            f"kelt.init: settings is {settings!r}; pass kelt.Settings(finish_timeout_s=10), or a "
            "dict of settings by name."
        )
    if not _starters:
        _starters.append(RunStarter(active=_active, environ=os.environ))
    arguments: dict[str, object] = {
        "project": project,
        "entity": entity,
        "name": name,
        "run_id": id,
        "tags": tags,
        "notes": notes,
        "group": group,
        "job_type": job_type,
        "run_dir": dir,
        "mode": mode,
        "label": label,
        "primary": primary,
        "resume": resume,
        "reinit": reinit,
    }
    overrides = by_our_names(settings or {})
    overrides |= {name: value for name, value in arguments.items() if value is not None}
    return _starters[0].init(overrides, config=config, fork_from=fork_from, resume_from=resume_from)


def log(data: dict[str, Any], step: int | None = None, commit: bool | None = True) -> None:
    """Logs to the current run: see `Run.log`.

    Raises:
        UsageError: no run is open, or a key, value or step that cannot be logged.
        SpoolFullError: there is no room for the row, and `spool_policy` is "raise".
    """
    current = _active.current
    if current is None:
        raise UsageError(_NO_RUN.format(what="log"))
    current.log(data, step, commit)


def define_metric(  # noqa: PLR0917 # wandb's order
    name: str,
    step_metric: str | None = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: str | None = None,
    goal: str | None = None,
) -> MetricDefinition:
    """Says how a metric is summarised and drawn: see `Run.define_metric`.

    Raises:
        UsageError: no run is open, or an argument that cannot be.
    """
    current = _active.current
    if current is None:
        raise UsageError(_NO_RUN.format(what="define_metric"))
    return current.define_metric(name, step_metric, step_sync, hidden, summary, goal)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """Ends the current run, if there is one: see `Run.finish`."""
    current = _active.current
    if current is not None:
        current.finish(exit_code, quiet)


def sync(
    paths: str | Path | Sequence[str | Path] | None = None,
    *,
    upstream: str | None = None,
    live: bool = False,
    dry_run: bool = False,
    include_synced: bool | None = None,
    project: str | None = None,
    entity: str | None = None,
    timeout_s: float = 15.0,
) -> SyncResult:
    """Sends run folders that wait, such as offline ones, as `kelt sync` does.

    Returns when the upstream has committed them, or when waiting is of no more use. A run that
    fails does not stop the others: look at `result.is_complete`, or at each run's `error`.
    Repeating it, and interrupting it, is safe.

    Args:
        paths: run folders, W&B's `.wandb` files, TensorBoard's event files, MLflow's stores,
            Neptune's exported files, or folders of them; without any, all runs that wait here.
        upstream: send them to this server, and from now on, whatever they were logged for.
        live: follow runs that are still being written, until they end.
        dry_run: send nothing and start nothing; the result says what would be sent.
        include_synced: also those that are known to be upstream; by default those that are named.
        project: of runs that TensorBoard, MLflow or Neptune wrote; others have one.
        entity: likewise; by default the server's own.
        timeout_s: how long an upstream may stay out of reach without any progress.

    Raises:
        UsageError: an argument or a setting that cannot be.
        DaemonError: no daemon can be started on this host.
    """
    from kelt.syncing.from_python import sync_paths  # noqa: PLC0415 # see the package's description

    return sync_paths(
        paths,
        upstream=upstream,
        live=live,
        dry_run=dry_run,
        include_synced=include_synced,
        project=project,
        entity=entity,
        wait_s=timeout_s,
        environ=os.environ,
    )


def __getattr__(name: str) -> Any:
    if name == "run":
        return _active.current
    if name in _OF_RUN:
        current = _active.current
        if current is None:
            raise UsageError(_NO_RUN.format(what=name))
        return getattr(current, name)
    if name in _LAZY:
        from importlib import import_module  # noqa: PLC0415 # see the package's description

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kelt' has no attribute {name!r}{_hint(name)}")


def _hint(name: str) -> str:
    from kelt.wandb_api.names import PUBLIC  # noqa: PLC0415 # see the package's description

    if name not in PUBLIC:
        return ""
    return "; wandb has it: run a script that uses it by `kelt run`, see docs/from-wandb.md"


def __dir__() -> list[str]:
    return __all__
