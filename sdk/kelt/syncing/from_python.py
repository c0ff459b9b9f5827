"""`kelt.sync()`: what `kelt sync` does, for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kelt.errors import UsageError
from kelt.settings import load_settings
from kelt.syncing.engine import plan_sync, run_sync
from kelt.syncing.named_paths import checked_target, is_to_sync, not_to_sync
from kelt.syncing.outcome import SyncResult


def sync_paths(
    paths: str | Path | Sequence[str | Path] | None,
    *,
    upstream: str | None,
    live: bool,
    dry_run: bool,
    include_synced: bool | None,
    project: str | None,
    entity: str | None,
    wait_s: float,
    environ: Mapping[str, str],
) -> SyncResult:
    """`kelt.sync`.

    Raises:
        UsageError: an argument or a setting that cannot be.
        DaemonError: no daemon can be started.
    """
    chosen = load_settings({"upstream": upstream} if upstream else {}, environ)
    if isinstance(paths, str | Path):
        paths = [paths]
    folders = None if paths is None else [Path(path).expanduser().absolute() for path in paths]
    for folder in folders or ():
        if not is_to_sync(folder):
            raise UsageError(f"kelt.sync: {not_to_sync(folder)}")
    plan = plan_sync(
        folders,
        settings=chosen,
        keeps=not dry_run,
        sends_early=not dry_run,
        upstream=chosen.upstream.rstrip("/") if upstream else "",
        live=live,
        include_synced=include_synced,
        wait_s=wait_s,
        target=checked_target("kelt.sync: ", project, entity),
    )
    return plan.dry_result() if dry_run else run_sync(plan, settings=chosen)
