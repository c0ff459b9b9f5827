"""45 places to die: 15 phases, each before, inside and after, with real processes.

`KELT_TORTURE_KILL_ROUNDS` (default 1) repeats every point with other occurrences and other lines;
`KELT_TORTURE_FIRST_SEED` says where the seeds begin. Seed 0 is the written place of the table.
"""

import os
import random

import pytest

from harness.kill_points import (
    Fault,
    Stage,
    environment_of,
    load_points,
    start_server,
    stored_twice,
)

POINTS = load_points()
ROUNDS = int(os.environ.get("KELT_TORTURE_KILL_ROUNDS", "1"))
FIRST_SEED = int(os.environ.get("KELT_TORTURE_FIRST_SEED", "0"))
#: How often a phase surely occurs in a run of the trainer, where that is more than its table says.
OCCURRENCES = {"spool_write": 700, "rpc_send": 8, "journal_append": 8, "fdatasync": 8, "ack": 8}


def fault_of(point, seed):
    nth = POINTS[point].nth
    if seed:
        phase = point.partition(":")[0]
        nth = random.Random(f"{point}:{seed}").randrange(1, OCCURRENCES.get(phase, nth) + 1)
    return Fault(point, nth, seed)


FAULTS = [
    pytest.param(
        fault_of(point, seed),
        id=f"{point}:{seed}",
        marks=pytest.mark.covers(phase=point.partition(":")[0], fault=f"KILL {POINTS[point].role}"),
    )
    for seed in range(FIRST_SEED, FIRST_SEED + ROUNDS)
    for point in POINTS
]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One server for all points at which it is not the victim."""
    server = start_server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()
    assert stored_twice(server.folder) == []


def test_the_table_has_fifteen_phases_with_three_moments_each():
    phases = [point.partition(":")[0] for point in POINTS]
    assert len(POINTS) == 45
    assert all(phases.count(phase) == 3 for phase in phases)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_kill_at_this_point_loses_nothing_and_doubles_nothing(fault, tmp_path, request):
    project = f"{fault.point.replace(':', '-')}-{fault.seed}"
    if POINTS[fault.point].role == "server":
        server = start_server(tmp_path / "server", environment=environment_of(fault, tmp_path))
        try:
            Stage(folder=tmp_path, server=server, fault=fault, project=project).run()
        finally:
            server.stop()
        assert stored_twice(server.folder) == []
        return
    server = request.getfixturevalue("shared_server")
    Stage(folder=tmp_path, server=server, fault=fault, project=project).run()
