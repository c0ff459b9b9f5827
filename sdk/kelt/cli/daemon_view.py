"""The daemon's replies as plain data and table cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kelt.cli.terminal import Column
from kelt.cli.wording import age, count, size
from kelt.syncing.watch import upstream_sentence
from kelt_proto.v1 import sidecar_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

UPSTREAM_COLUMNS = (
    Column("UPSTREAM"),
    Column("STATE", is_kept=True),
    Column("SINCE", is_number=True, is_kept=True),
)
RUN_COLUMNS = (
    Column("RUN"),
    Column("STATE", is_kept=True),
    Column("WAITING", is_number=True, is_kept=True),
    Column("SYNCED", is_number=True, is_kept=True),
    Column("SINCE", is_number=True, is_kept=True),
    Column("NOTE"),
)
BOUND_COLUMNS = (
    Column("OF"),
    Column("BOUND", is_kept=True),
    Column("FULL", is_number=True, is_kept=True),
    Column("USED", is_kept=True),
    Column("MET", is_number=True, is_kept=True),
    Column("THEN"),
)
#: From this share on a bound is shown before it is met: the alarm of the quota.
_NEAR = 0.8


def status_dict(reply: sidecar_pb2.StatusReply) -> dict[str, Any]:
    """A status reply for scripts; counters are numbers, as JSON takes any size."""
    return {
        "running": True,
        "version": reply.version,
        "pid": reply.pid,
        "started_at": reply.started_at,
        "state_dir": reply.state_dir,
        "journal_bytes": reply.journal_bytes,
        "bounds": [bound_dict(bound) for bound in reply.bounds],
        "upstreams": [upstream_dict(upstream) for upstream in reply.upstreams],
        "runs": [_run_dict(run) for run in reply.runs],
    }


def upstream_dict(upstream: sidecar_pb2.UpstreamState) -> dict[str, Any]:
    """The state of an upstream: connecting, reachable, unreachable or refused."""
    return {
        "url": upstream.url,
        "state": sidecar_pb2.UpstreamState.State.Name(upstream.state).lower(),
        "reason": upstream.reason,
        "since": upstream.since,
    }


def bound_dict(bound: sidecar_pb2.BoundUse) -> dict[str, Any]:
    """How full a queue or file is, and how often it was full."""
    return {
        "name": bound.name,
        "used": bound.used,
        "limit": bound.limit,
        "unit": bound.unit,
        "policy": bound.policy,
        "met": bound.met,
    }


def _run_dict(run: sidecar_pb2.RunStatus) -> dict[str, Any]:
    return {
        "path": run.path,
        "entity": run.entity,
        "project": run.project,
        "run_id": run.run_id,
        "label": run.label,
        "upstream": run.upstream,
        "state": run.state,
        "reason": run.reason,
        "state_at": run.state_at,
        "durable_records": run.durable_records,
        "committed_records": run.committed_records,
        "bytes": run.bytes,
        "lost_rows": run.lost_rows,
        "problem": run.problem,
        "bounds": [bound_dict(bound) for bound in run.bounds],
    }


def run_name(run: dict[str, Any]) -> str:
    """A run as the daemon knows it, or its folder where it knows no more."""
    named = "/".join(part for part in (run["entity"], run["project"], run["run_id"]) if part)
    return named or str(run["path"])


def waiting_records(run: dict[str, Any]) -> int:
    """Records on this host's disk that the upstream has not committed."""
    return max(0, int(run["durable_records"]) - int(run["committed_records"]))


def wants_attention(run: dict[str, Any]) -> bool:
    """Whether a run is live, has a backlog, or has something to say."""
    return bool(
        run["state"] in {"running", "waiting"}
        or waiting_records(run)
        or run["problem"]
        or run["lost_rows"]
        or any(map(is_near, run["bounds"]))
    )


def is_near(bound: dict[str, Any]) -> bool:
    """Whether a bound is near, or was met."""
    return bool(bound["met"] or (bound["limit"] and bound["used"] >= _NEAR * bound["limit"]))


def bound_rows(status: dict[str, Any]) -> list[list[str]]:
    """Cells for `BOUND_COLUMNS`: the daemon's bounds and the runs', as far as they are near."""
    owners = [("daemon", status["bounds"])]
    owners += [(run_name(run), run["bounds"]) for run in status["runs"]]
    return [
        [
            owner,
            bound["name"],
            f"{bound['used'] / bound['limit']:.0%}" if bound["limit"] else "-",
            f"{_amount(bound, 'used')} of {_amount(bound, 'limit')}",
            str(bound["met"]),
            bound["policy"],
        ]
        for owner, bounds in owners
        for bound in bounds
        if is_near(bound)
    ]


def _amount(bound: dict[str, Any], which: str) -> str:
    number = int(bound[which])
    return size(number) if bound["unit"] == "bytes" else f"{number:,} {bound['unit']}".rstrip()


def upstream_rows(upstreams: Iterable[dict[str, Any]], *, now: float) -> list[list[str]]:
    """Cells for `UPSTREAM_COLUMNS`."""
    return [[u["url"], u["state"], age(now - u["since"]) if u["since"] else "-"] for u in upstreams]


def run_rows(runs: Sequence[dict[str, Any]], *, now: float) -> list[list[str]]:
    """Cells for `RUN_COLUMNS`."""
    return [
        [
            f"{run_name(run)} ({run['label']})" if run["label"] else run_name(run),
            run["state"],
            str(waiting_records(run)),
            str(run["committed_records"]),
            age(now - run["state_at"]) if run["state_at"] else "-",
            _note(run),
        ]
        for run in runs
    ]


def problems(status: dict[str, Any]) -> list[str]:
    """What keeps anything from being sent, a sentence each, in full."""
    upstreams = [upstream_sentence(u) for u in status["upstreams"] if u["reason"]]
    return upstreams + [f"{run_name(r)}: {r['problem']}" for r in status["runs"] if r["problem"]]


def _note(run: dict[str, Any]) -> str:
    lost = f"{count(run['lost_rows'], 'row')} lost" if run["lost_rows"] else ""
    problem = "problem, see below" if run["problem"] else ""
    # The daemon's sentence names the folder, which does not fit into a line.
    reason = "offline, until `kelt sync`" if run["state"] == "waiting" else run["reason"]
    return "; ".join(text for text in (lost, problem, reason) if text)
