from __future__ import annotations

import copy

import pytest

from kelt.api_client import Bucket, Run
from kelt.cli.runs_view import (
    curve,
    facts,
    lineage_lines,
    list_row,
    numeric_metrics,
    origin,
    tail_line,
)

BASE = {
    "entity": "me",
    "project": "demo",
    "run_id": "base",
    "immutable_id": "i1",
    "name": "brave-otter-1",
    "notes": "",
    "group": "",
    "job_type": "",
    "tags": [],
    "state": "finished",
    "reason": "",
    "state_at": 900.0,
    "offline_since": None,
    "created_at": 400.0,
    "started_at": 400.0,
    "heartbeat_at": 900.0,
    "runtime": 500.0,
    "rows": 300,
    "last_step": 299,
    "kind": "created",
    "is_archived": False,
    "held_by": "i1",
    "lineage": [],
    "archived": [],
    "config": {},
    "summary": {},
    "definitions": [],
    "losses": [],
    "lost_rows": 0,
    "rows_step_went_down": 0,
    "problems": [],
    "host": "box",
    "sessions": [],
}


class Server:
    """What a run needs to know its address."""

    upstream = "http://up"


def a_run(**changes):
    return Run(connection=Server(), data=copy.deepcopy(BASE) | changes)


def ancestor(run_id, immutable_id, step, kind, *, known=True, project="demo"):
    return {
        "immutable_id": immutable_id,
        "entity": "me",
        "project": project,
        "run_id": run_id,
        "fork_step": step,
        "kind": kind,
        "known": known,
    }


def test_a_line_of_the_list_says_what_is_asked_first():
    assert list_row(a_run(), now=1000, project="demo") == [
        "base",
        "brave-otter-1",
        "finished",
        "",
        "300",
        "299",
        "",
        "10m",
    ]
    assert list_row(a_run(), now=1000)[0] == "demo/base"
    assert list_row(a_run(rows=0, last_step=-1), now=1000)[4:6] == ["0", "-"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "crashed", "reason": "SIGKILL"}, "SIGKILL"),
        ({"lost_rows": 3, "reason": "SIGKILL"}, "3 rows lost; SIGKILL"),
        ({"state": "crashed", "reason": "killed by SIGKILL (signal 9)"}, "SIGKILL"),
        ({"lost_rows": 1}, "1 row lost"),
        ({"problems": ["a", "b"]}, "2 problems"),
        ({"state": "running", "offline_since": 940.0}, "silent for 1m"),
    ],
)
def test_losses_problems_and_silence_stand_in_the_list(changes, reason):
    assert list_row(a_run(**changes), now=1000)[3] == reason


def test_the_origin_of_a_run_is_told_in_few_words():
    assert origin(a_run()) == ""
    assert origin(a_run(lineage=[ancestor("root", "i0", 200, "forked")])) == "root @200"
    assert origin(a_run(lineage=[ancestor("base", "i0", 7, "rewound")])) == "rewound @7"
    assert origin(a_run(lineage=[ancestor("base", "i0", None, "continued")])) == "continued"


def test_lineage_is_a_tree_down_to_the_first_branch_with_what_was_archived():
    run = a_run(
        lineage=[
            ancestor("base", "i0", 200, "rewound"),
            ancestor("base", "i5", None, "continued"),
            ancestor("root", "r0", 90, "forked", known=False, project="other"),
        ]
    )
    old = a_run(immutable_id="i0", rows=1, last_step=250)
    left = a_run(run_id="left", rows=0, lineage=[ancestor("base", "i0", 7, "forked")])
    gone = a_run(
        run_id="gone", immutable_id="g1", is_archived=True, project="far", rows=9, last_step=8,
        lineage=[ancestor("left", "l1", 8, "rewound"), ancestor("base", "i1", 3, "forked")],
    )  # fmt: skip
    assert lineage_lines(run, [old], [left, gone]) == [
        "base (i1)",
        "└─ rewound from step 200 of base (i0)",
        "   └─ continues the end of base (i5)",
        "      └─ forked from step 90 of other/root (r0), which has not arrived yet",
        "archived: base (i0), 1 row, last step 250",
        "forked at step 7: left, finished, no rows",
        "forked at step 3: gone (g1), finished, 9 rows, last step 8",
    ]
    many = lineage_lines(a_run(), [], [left] * 25)
    assert (len(many), many[-1]) == (22, "and 5 more forks")


def test_facts_leave_out_what_is_not_there_and_list_losses_and_problems_in_full():
    loss = {"writer_id": "ff", "first_seq": 1, "last_seq": 2, "rows": 2, "reason": "no space"}
    found = facts(a_run(losses=[loss], problems=["p" * 200], notes="a\x1b[2J"), now=1000)
    titles = [title for title, _ in found]
    assert "tags" not in titles
    assert ("lost", "2 rows of writer ff: no space") in found
    assert ("problem", "p" * 200) in found
    assert ("notes", "a\\x1b[2J") in found
    assert ("url", "http://up/me/demo/runs/base") in found


def test_only_numbers_that_people_logged_get_a_curve():
    summary = {"loss": 0.1, "n": 1, "ok": True, "_step": 3, "text": "x", "nothing": None}
    assert numeric_metrics(summary) == ["loss", "n"]
    assert len(numeric_metrics({f"m{i}": i for i in range(100)})) == 20


def test_a_curve_leaves_a_gap_where_a_range_has_no_numbers():
    drawn = curve([Bucket(0, 0, 1, 0, 0, 0, 0), Bucket(1, 1, 0, 1, None, None, None)])
    assert (len(drawn), drawn[0] != drawn[1]) == (2, True)
    assert curve([]) == ""


def test_a_row_is_one_line_whatever_it_holds():
    row = {"_step": 12, "_timestamp": 1.0, "_runtime": 2.0, "loss": 0.5, "t\n": "a\nb"}
    assert tail_line(row) == "      12  loss=0.5  t\\n=a\\nb"
