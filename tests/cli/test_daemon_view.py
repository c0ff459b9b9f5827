from __future__ import annotations

from kelt.cli.daemon_view import bound_rows, status_dict, wants_attention
from kelt_proto.v1.sidecar_pb2 import BoundUse, RunStatus, StatusReply


def bound(used, limit, *, met=0, unit="bytes"):
    return BoundUse(
        name="journals", used=used, limit=limit, unit=unit, policy="streams wait", met=met
    )


def status(*, of_daemon=(), of_run=()):
    run = RunStatus(entity="e", project="p", run_id="r", state="finished", bounds=of_run)
    return status_dict(StatusReply(bounds=of_daemon, runs=[run]))


def test_a_bound_is_shown_from_four_fifths_on_and_once_it_was_met():
    near = [bound(79, 100), bound(80, 100), bound(0, 100, met=3)]
    rows = bound_rows(status(of_daemon=near))
    assert [(row[0], row[2], row[4]) for row in rows] == [
        ("daemon", "80%", "0"),
        ("daemon", "0%", "3"),
    ]


def test_a_runs_bound_names_the_run_its_use_and_what_happens_then():
    told = status(of_run=[bound(1 << 20, 1 << 20), bound(90, 100, unit="rows")])
    assert bound_rows(told) == [
        ["e/p/r", "journals", "100%", "1.0 MiB of 1.0 MiB", "0", "streams wait"],
        ["e/p/r", "journals", "90%", "90 rows of 100 rows", "0", "streams wait"],
    ]
    assert wants_attention(told["runs"][0])
    assert not wants_attention(status(of_run=[bound(1, 100)])["runs"][0])


def test_as_json_bounds_are_numbers():
    [told] = status(of_daemon=[bound(3, 9, met=2)])["bounds"]
    assert told == {
        "name": "journals", "used": 3, "limit": 9, "unit": "bytes", "policy": "streams wait",
        "met": 2,
    }  # fmt: skip


def test_a_bound_without_a_limit_divides_by_nothing():
    assert bound_rows(status(of_daemon=[bound(5, 0, met=1)]))[0][2] == "-"
