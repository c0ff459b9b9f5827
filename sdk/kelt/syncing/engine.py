"""Having run folders sent: surveys them, asks the daemon, follows its reports, adds up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.errors import DaemonUnavailableError, KeltError
from kelt.other_trackers.foreign_run import Target
from kelt.settings import Settings
from kelt.state_dir import StateDir
from kelt.syncing import following, foreign_runs, wandb_runs
from kelt.syncing.early import EarlySending
from kelt.syncing.named_paths import nothing_in
from kelt.syncing.outcome import SyncedRun, SyncResult
from kelt.syncing.reports import folder_report, replies, upstream_report
from kelt.syncing.row_counts import RowCounts
from kelt.syncing.survey import RunOnDisk, find_run_folders, survey, survey_all
from kelt.syncing.watch import SyncWatch
from kelt.wandb_files.finding import find_wandb_files

if TYPE_CHECKING:
    from kelt.sidecar_client import SidecarClient

#: How long to wait for an upstream that cannot be reached.
UPSTREAM_WAIT_S = 15.0
#: So many daemons may die in the middle of one sync.
_DAEMONS_MAX = 5

OnProgress = Callable[[Sequence[SyncedRun]], None]


@dataclass(frozen=True, kw_only=True)
class SyncPlan:
    """What is to be sent, and how.

    Attributes:
        refused: W&B's files of which no run folder could be made.
        upstream: where to, whatever the folders name; empty: as they say.
        live: follow runs that are still being written, until they end.
        wait_s: how long an upstream may stay out of reach without any progress.
        early: has asked for some of them already.
    """

    runs: tuple[RunOnDisk, ...]
    missing: tuple[Path, ...] = ()
    refused: tuple[RunOnDisk, ...] = ()
    upstream: str = ""
    live: bool = False
    wait_s: float = UPSTREAM_WAIT_S
    early: EarlySending | None = None

    def dry_result(self) -> SyncResult:
        """What would be sent, by the files alone."""
        runs = [
            SyncedRun(
                path=run.path,
                entity=run.entity,
                project=run.project,
                run_id=run.run_id,
                upstream=self.upstream or run.upstream,
                records=run.committed + run.waiting.records,
                committed=run.committed,
                sent=run.waiting.records,
                skipped=run.committed,
                rows=run.waiting.rows,
                lost_rows=run.waiting.lost_rows,
                error=run.problem,
                note=run.note,
            )
            for run in self.runs
        ]
        return SyncResult(
            runs=(*runs, *map(_nothing_in, self.missing)),
            error=_failed_sentence([*runs, *map(_nothing_in, self.missing)]),
            is_dry_run=True,
        )


def plan_sync(
    paths: Sequence[Path] | None,
    *,
    settings: Settings,
    upstream: str = "",
    live: bool = False,
    include_synced: bool | None = None,
    wait_s: float = UPSTREAM_WAIT_S,
    keeps: bool = False,
    sends_early: bool = False,
    target: Target | None = None,
) -> SyncPlan:
    """Looks at what lies there. Writes nothing but what `keeps` allows.

    Args:
        paths: run folders, or folders of them; None: all that wait on this host.
        settings: the state folder.
        upstream: see `SyncPlan`.
        live: see `SyncPlan`.
        include_synced: whether runs are asked for that the upstream is known to have; by default
            those that are named.
        wait_s: see `SyncPlan`.
        keeps: whether run folders may be made of W&B's files already (`survey_wandb`).
        sends_early: whether what is made is sent meanwhile: nobody will be asked.
        target: where runs of other trackers go that do not say so themselves.
    """
    early = EarlySending(settings=settings, upstream=upstream) if keeps and sends_early else None
    missing: list[Path] = []
    if paths is None:
        found = survey_all(settings.state_dir, upstream=upstream)
    else:
        try:
            found = _survey_paths(
                paths, missing, settings=settings, upstream=upstream, keeps=keeps, early=early,
                target=target or Target(),
            )  # fmt: skip
        except BaseException:
            if early is not None:
                early.close()
            raise
    takes_all = paths is not None if include_synced is None else include_synced
    # Another upstream than the one that is known to have them may have none of them.
    runs = [
        run
        for run in found
        if takes_all
        or run.is_waiting
        or run.problem
        or (live and run.state in {"running", "unknown"})
        or upstream not in {"", run.upstream}
    ]
    return SyncPlan(
        runs=tuple(runs), missing=tuple(missing), upstream=upstream, live=live, wait_s=wait_s,
        early=early,
    )  # fmt: skip


def _survey_paths(
    paths: Sequence[Path],
    missing: list[Path],
    *,
    settings: Settings,
    upstream: str,
    keeps: bool,
    early: EarlySending | None,
    target: Target,
) -> list[RunOnDisk]:
    """What lies under some paths; those under which nothing lies are added to `missing`."""
    state_dir, named_or_own = settings.state_dir, upstream or settings.upstream.rstrip("/")
    folders: dict[Path, None] = {}
    files: dict[Path, None] = {}
    foreign: list[RunOnDisk] = []
    for path in paths:
        inside, wandb_files = find_run_folders(path), find_wandb_files(path)
        folders |= dict.fromkeys(inside)
        files |= dict.fromkeys(wandb_files)
        others = foreign_runs.survey_foreign_runs(
            path, target=target, state_dir=state_dir, upstream=named_or_own, keeps=keeps
        )
        foreign += others
        if not (inside or wandb_files or others):
            missing.append(path)
    found = [survey(path, state_dir=state_dir, upstream=upstream) for path in folders]
    found += [
        wandb_runs.survey_wandb(
            path,
            state_dir=state_dir,
            upstream=named_or_own,
            keeps=keeps,
            on_begun=None if early is None else early.begin,
        )
        for path in files
    ]
    return [*found, *foreign]


def run_sync(
    plan: SyncPlan, *, settings: Settings, on_progress: OnProgress | None = None
) -> SyncResult:
    """Has it sent, and returns when the upstream has committed it or that is of no more use.

    Raises:
        KeltError: no daemon can be started, or it refuses.
    """
    if not (plan.live and any(map(following.goes_on, plan.runs))):
        return _send(plan, settings=settings, on_progress=on_progress)
    target = plan.upstream or settings.upstream.rstrip("/")
    return following.follow(
        plan,
        send=partial(_send, settings=settings, on_progress=on_progress),
        look=partial(_look_again, state_dir=settings.state_dir, upstream=target),
        clock=time.monotonic,
        sleep=time.sleep,
    )


def _look_again(run: RunOnDisk, *, state_dir: StateDir, upstream: str) -> RunOnDisk:
    look = foreign_runs.survey_again if run.foreign_path else wandb_runs.survey_again
    return look(run, state_dir=state_dir, upstream=upstream)


def _send(plan: SyncPlan, *, settings: Settings, on_progress: OnProgress | None) -> SyncResult:
    plan = _with_folders(plan, settings)
    had: Mapping[str, int] = {} if plan.early is None else plan.early.close()
    if not plan.runs:
        lost = _left_out(plan)
        return SyncResult(runs=tuple(lost), error=_failed_sentence(lost))
    from kelt.launcher import ensure_daemon  # noqa: PLC0415 # starts processes
    from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

    watch = SyncWatch(wait_s=plan.wait_s, now=time.monotonic(), had=had)
    counted = RowCounts(plan.runs)
    is_interrupted = False
    broken: KeltError | None = None
    for _ in range(_DAEMONS_MAX):
        broken = None
        place = ensure_daemon(settings)
        try:
            with SidecarClient(socket=place.socket) as client:
                client.hello(
                    upstream=plan.upstream or settings.upstream,
                    api_key=settings.api_key,
                    ca_file=settings.ca_file,
                    proxy=settings.proxy,
                )
                for _ in _follow(client, plan, watch):
                    if on_progress is not None:
                        on_progress([counted(run) for run in _runs_of(plan, watch)])
        except KeyboardInterrupt:
            is_interrupted = True
        except DaemonUnavailableError as killed:
            broken = killed  # killed in the middle: another one goes on where it stood
            continue
        break
    runs = tuple(counted(run, is_last=True) for run in _runs_of(plan, watch))
    failure = watch.failure()
    error = failure.sentence if failure is not None else _failed_sentence(runs)
    if broken is not None:
        error = f"{broken} Nothing is lost by it; run `kelt sync` again."
    if is_interrupted:
        error = "Interrupted; the daemon goes on with what it was asked to send."
    return SyncResult(
        runs=runs,
        error=error,
        is_unreachable=broken is not None or (failure is not None and failure.is_unreachable),
        is_interrupted=is_interrupted,
    )


def _follow(client: SidecarClient, plan: SyncPlan, watch: SyncWatch) -> Iterator[None]:
    """Takes the daemon's reports until all is sent, or waiting is of no more use."""
    for reply in replies(client, plan.runs, upstream=plan.upstream, live=plan.live):
        if reply is not None:
            watch.take(
                folders=[folder_report(folder) for folder in reply.folders],
                upstream=upstream_report(reply),
                is_done=reply.done,
                now=time.monotonic(),
            )
            yield
        # What is followed may pause for as long as it likes.
        if not plan.live and watch.is_over(now=time.monotonic()):
            return


def _runs_of(plan: SyncPlan, watch: SyncWatch) -> list[SyncedRun]:
    runs = [
        SyncedRun(
            path=Path(folder["path"]),
            entity=folder["entity"],
            project=folder["project"],
            run_id=folder["run_id"],
            upstream=folder["upstream"],
            is_synced=folder["is_synced"],
            records=folder["records"],
            committed=folder["committed"],
            sent=folder["committed"] - folder["skipped"],
            skipped=folder["skipped"],
            lost_rows=folder["lost_rows"],
            error=folder["error"],
        )
        for folder in watch.folders
    ]
    return [*runs, *_left_out(plan)]


def _left_out(plan: SyncPlan) -> list[SyncedRun]:
    refused = [SyncedRun(path=run.path, error=run.problem) for run in plan.refused]
    return [*refused, *map(_nothing_in, plan.missing)]


def _with_folders(plan: SyncPlan, settings: Settings) -> SyncPlan:
    """The plan with run folders in the place of W&B's files."""
    runs = [
        (foreign_runs if run.foreign_path else wandb_runs).brought_in(
            run, settings=settings, upstream=plan.upstream
        )
        for run in plan.runs
    ]
    is_refused = [run.original is not None and bool(run.problem) for run in runs]
    return replace(
        plan,
        runs=tuple(run for run, is_out in zip(runs, is_refused, strict=True) if not is_out),
        refused=tuple(run for run, is_out in zip(runs, is_refused, strict=True) if is_out),
    )


def _nothing_in(path: Path) -> SyncedRun:
    return SyncedRun(path=path, error=nothing_in(path))


def _failed_sentence(runs: Sequence[SyncedRun]) -> str:
    failed = sum(bool(run.error) for run in runs)
    if not failed:
        return ""
    counted = "1 run" if failed == 1 else f"{failed:,} runs"
    return f"{counted} of {len(runs):,} could not be sent; the lines above say why."
