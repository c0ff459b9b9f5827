"""Several runs in one chart: the mean and the band of each group of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kelt_server.branch_names import Name
from kelt_server.catalog.store import Catalog
from kelt_server.errors import BadRequestError, NotFoundError
from kelt_server.filters import MISSING, Test, look_up, path_of
from kelt_server.metrics.store import Band, MetricsStore
from kelt_server.run_table import Document, RunTable
from kelt_server.scope import Scope, cut, lowest
from kelt_server.values import plain

#: Runs of one chart. More are refused, never left out.
RUNS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BandRequest:
    """Which runs, by id or by a test (`runs` empty), how they are grouped, and the buckets."""

    entity: str
    project: str
    runs: Sequence[str]
    test: Test
    group_by: Sequence[str]
    metrics: Sequence[str]
    number: int
    step_min: int | None
    step_max: int | None
    quantiles: Sequence[float]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that agree in what they are grouped by; `by` has no entry for what a run lacks."""

    by: Mapping[str, Any]
    branch_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Banded:
    """Bands with the range that they divide; `Band.group` counts into `groups`."""

    step_min: int
    step_max: int
    width: int
    groups: list[Group]
    bands: list[Band]


def read_bands(
    request: BandRequest,
    catalog: Catalog,
    metrics: MetricsStore,
    table: RunTable,
    *,
    may: Callable[[str], bool],
) -> Banded:
    """Answers a request of somebody who may read what is some entities'.

    Raises:
        BadRequestError: so many runs are too many for a chart.
        NotFoundError: a run that was named is not there.
    """
    documents: list[Document] = []
    if request.group_by or not request.runs:
        documents = table.documents(request.entity, request.project)
    if request.runs:
        names = [(request.entity, request.project, run) for run in request.runs]
        scope = Scope(catalog.family(names, request.runs), metrics)
        branch_ids = [_branch_of(name, scope, may) for name in names]
    else:
        found = [run for run in documents if request.test(run)]
        names = [(run["entity"], run["project"], run["run_id"]) for run in found]
        branch_ids = [str(run["immutable_id"]) for run in found]
    if len(branch_ids) > RUNS_MAX:
        raise BadRequestError(
            f"{len(branch_ids)} runs are too many for one chart; choose at most {RUNS_MAX}, "
            "with run= or filters="
        )
    if not request.runs:
        scope = Scope(catalog.family(names), metrics)
    groups = _groups(request.group_by, branch_ids, documents)
    return _banded(request, groups, scope, metrics)


def _branch_of(name: Name, scope: Scope, may: Callable[[str], bool]) -> str:
    holder = scope.family.branches.holder(name)
    if holder is not None:
        return holder
    known = scope.family.branches.by_id.get(name[2])
    if known is not None and may(known.entity):
        return name[2]
    raise NotFoundError(f"there is no run {name[2]!r} in {name[0]}/{name[1]}; `kelt runs ls` lists")


def _groups(
    paths: Sequence[str], branch_ids: Sequence[str], documents: Sequence[Document]
) -> list[Group]:
    """By the values at the paths, in their order; all in one group where there are none."""
    if not paths:
        return [Group({}, tuple(branch_ids))] if branch_ids else []
    parsed = [(path, path_of(path)) for path in paths]
    known = {run["immutable_id"]: run for run in documents}
    members: dict[str, list[str]] = {}
    values: dict[str, dict[str, Any]] = {}
    for branch_id in branch_ids:
        run = known.get(branch_id, {})
        found = {name: look_up(run, path) for name, path in parsed}
        by = {name: plain(value) for name, value in found.items() if value is not MISSING}
        key = json.dumps(by)
        values[key] = by
        members.setdefault(key, []).append(branch_id)
    return [Group(values[key], tuple(members[key])) for key in sorted(members)]


def _banded(
    request: BandRequest, groups: list[Group], scope: Scope, metrics: MetricsStore
) -> Banded:
    spans = [[scope.lineage.spans(own) for own in group.branch_ids] for group in groups]
    every = [one for of_group in spans for one in of_group if one]
    start, stop = request.step_min, request.step_max
    if start is None:
        start = min((lowest(one, scope) for one in every if _has_rows(one, scope)), default=0)
    if stop is None:
        ends = (scope.lineage.end(own) for group in groups for own in group.branch_ids)
        stop = max(ends, default=-1)
    if stop < start:
        return Banded(start, stop, 1, groups, [])
    width = -(-(stop - start + 1) // request.number)
    limited = [[[cut(span, stop) for span in one] for one in of_group] for of_group in spans]
    found = metrics.bands(
        limited,
        request.metrics,
        start=start,
        width=width,
        number=request.number,
        quantiles=request.quantiles,
    )
    return Banded(start, stop, width, groups, found)


def _has_rows(spans: Sequence[Any], scope: Scope) -> bool:
    return any(scope.streams.get(span.branch_id) for span in spans)
