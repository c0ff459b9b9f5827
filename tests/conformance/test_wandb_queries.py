"""`Api().runs(filters=, order=)` by a real client, against a plain reading of the same runs.

The oracle knows MongoDB's operators from their documentation alone, and the runs from what the
script logged; it shares nothing with the server.
"""

from __future__ import annotations

import json
import re
from typing import Any

from conformance.conftest import Client, Kelt

#: id, name, group, tags, config, summary, exit code
RUNS: list[dict[str, Any]] = [
    {"id": f"r{n}", "name": name, "group": f"g{n % 2}", "tags": tags, "config": config,
     "summary": {"loss": loss, "best": n * 10}, "code": n % 3 == 2}
    for n, (name, tags, config, loss) in enumerate([
        ("alpha", ["x"], {"lr": 0.1, "opt": {"name": "adam", "b": 2}, "on": True}, 0.5),
        ("beta", ["x", "y"], {"lr": 0.01, "opt": {"name": "sgd"}, "on": False}, 0.25),
        ("gamma", [], {"lr": 1, "layers": [1, 2, 3]}, 2),
        ("alphabet", ["y"], {"lr": 0.5, "opt": {"name": "adam", "b": 1}, "on": True}, -1.5),
        ("delta", ["z"], {"note": "no rate", "lr": None}, 0.5),
        ("epsilon", ["x", "z"], {"lr": "0.1"}, 10),
    ])
]  # fmt: skip
LOG = (
    f"RUNS = json.loads({json.dumps(json.dumps(RUNS))})"
    """
for said in RUNS:
    r = wandb.init(id=said["id"], name=said["name"], group=said["group"], tags=said["tags"],
                   config=said["config"])
    r.log({"loss": said["summary"]["loss"]})
    r.summary["best"] = said["summary"]["best"]
    r.finish(exit_code=int(said["code"]))
"""
)

FILTERS: list[dict[str, Any]] = [
    {"config.lr": 0.1}, {"config.lr.value": 0.1}, {"config.lr": 1.0}, {"config.lr": "0.1"},
    {"config.lr": {"$gt": 0.05}}, {"config.lr.value": {"$gte": 0.1, "$lt": 1}},
    {"config.lr": {"$ne": 0.1}}, {"config.lr": None}, {"config.missing": None},
    {"config.lr": {"$in": [0.01, 1]}}, {"config.lr": {"$nin": [0.01, 1]}},
    {"config.lr": {"$exists": True}}, {"config.on": {"$exists": False}}, {"config.on": True},
    {"config.opt.name": "adam"}, {"config.opt.value.name": {"$in": ["sgd"]}},
    {"config.opt.b": {"$lte": 1}}, {"config.layers": 2}, {"config.layers": {"$gt": 2}},
    {"config.note": {"$regex": "^no"}},
    {"summary_metrics.loss": {"$lt": 0.5}}, {"summary_metrics.best": {"$gte": 20, "$lte": 40}},
    {"summary_metrics.loss": 0.5}, {"state": "failed"}, {"state": {"$ne": "finished"}},
    {"state": {"$in": ["finished", "running"]}}, {"tags": "x"}, {"tags": {"$in": ["y", "z"]}},
    {"tags": {"$nin": ["x"]}}, {"group": "g1"}, {"display_name": "beta"}, {"displayName": "beta"},
    {"display_name": {"$regex": "alpha"}}, {"display_name": {"$regex": "^.{5}$"}}, {"name": "r3"},
    {"name": {"$in": ["r1", "r5", "none"]}},
    {"$and": [{"group": "g0"}, {"tags": "x"}]}, {"$or": [{"name": "r1"}, {"tags": "z"}]},
    {"$nor": [{"group": "g0"}, {"state": "failed"}]},
    {"$or": [{"$and": [{"config.lr": {"$lt": 1}}, {"group": "g0"}]}, {"display_name": "beta"}]},
    {"config.lr": {"$not": {"$gt": 0.05}}}, {"group": "g0", "summary_metrics.loss": {"$gt": 0}},
    {"createdAt": {"$gt": "2020-01-01T00:00:00"}}, {"createdAt": {"$lt": "2020-01-01"}},
    {"created_at": {"$gte": "2020-01-01T00:00:00Z", "$lt": "2100-01-01T00:00:00Z"}},
]  # fmt: skip
ORDERS = [
    "+created_at", "-created_at", "created_at", "+summary_metrics.loss", "-summary_metrics.loss",
    "-summary_metrics.best", "+display_name", "-display_name", "+config.opt.name.value",
    "-config.lr.value", "+config.lr.value", "+group,-created_at",
]  # fmt: skip

MISSING = object()


def value_at(run: dict[str, Any], path: str) -> Any:
    if path in ("createdAt", "created_at"):
        return "2026"  # whenever it was, between the bounds that are asked
    if path == "state":
        return "failed" if run["code"] else "finished"
    names = {"name": "id", "display_name": "name", "displayName": "name"}
    head, *rest = path.replace("summary_metrics", "summary").split(".")
    found: Any = run[names.get(head, head)]
    for part in rest:
        if head == "config" and part == "value":
            continue
        found = found.get(part, MISSING) if isinstance(found, dict) else MISSING
    return found


def is_equal(value: Any, wanted: Any) -> bool:
    if value is MISSING:
        return wanted is None
    if isinstance(value, list):
        return any(is_equal(item, wanted) for item in value)
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def compares(value: Any, operator: str, wanted: Any) -> bool:
    if isinstance(value, list):
        return any(compares(item, operator, wanted) for item in value)
    if isinstance(value, str) != isinstance(wanted, str) or value in (None, MISSING):
        return False
    return {
        "$gt": value > wanted, "$gte": value >= wanted, "$lt": value < wanted,
        "$lte": value <= wanted,
    }[operator]  # fmt: skip


def meets(value: Any, condition: Any) -> bool:
    if not isinstance(condition, dict):
        return is_equal(value, condition)
    for operator, wanted in condition.items():
        if operator in ("$in", "$nin"):
            met = any(is_equal(value, item) for item in wanted) == (operator == "$in")
        elif operator == "$ne":
            met = not is_equal(value, wanted)
        elif operator == "$exists":
            met = (value is not MISSING) == wanted
        elif operator == "$regex":
            met = isinstance(value, str) and re.search(wanted, value) is not None
        elif operator == "$not":
            met = not meets(value, wanted)
        else:
            met = compares(value, operator, wanted)
        if not met:
            return False
    return True


def is_wanted(run: dict[str, Any], query: dict[str, Any]) -> bool:
    for key, condition in query.items():
        if key in ("$and", "$or", "$nor"):
            found = [is_wanted(run, part) for part in condition]
            if not {"$and": all(found), "$or": any(found), "$nor": not any(found)}[key]:
                return False
        elif not meets(value_at(run, key), condition):
            return False
    return True


def ordered(order: str) -> list[Any]:
    """The values by which runs lie, those without any last: equal ones may lie either way."""
    first = order.split(",", maxsplit=1)[0]
    path = first.lstrip("+-")
    if path == "created_at":
        numbers = list(range(len(RUNS)))
        return numbers[::-1] if first[0] == "-" else numbers
    found = [value_at(run, path) for run in RUNS]
    present = [value for value in found if value is not MISSING and value is not None]
    if len({isinstance(value, str) for value in present}) > 1:
        numbers = sorted(value for value in present if not isinstance(value, str))
        present = [*numbers, *sorted(value for value in present if isinstance(value, str))]
    else:
        present.sort()
    absent = [value for value in found if value is MISSING or value is None]
    return (present[::-1] if first[0] == "-" else present) + absent


def test_runs_are_found_and_ordered_as_they_were_logged(client: Client, kelt: Kelt) -> None:
    client.run(LOG)
    asked = json.dumps(json.dumps([FILTERS, ORDERS]))
    found = client.answer(
        f"FILTERS, ORDERS = json.loads({asked})"
        """
api = wandb.Api()
print(json.dumps([
    [[run.id for run in api.runs("p", filters=said)] for said in FILTERS],
    [[run.id for run in api.runs("p", order=said)] for said in ORDERS],
]))
"""
    )
    for query, ids in zip(FILTERS, found[0], strict=True):
        wanted = [run for run in RUNS if is_wanted(run, query)]
        assert sorted(ids) == sorted(run["id"] for run in wanted), query
    by_id = {run["id"]: (number, run) for number, run in enumerate(RUNS)}
    for order, ids in zip(ORDERS, found[1], strict=True):
        path = order.split(",")[0].lstrip("+-")
        shown = [
            by_id[run_id][0] if path == "created_at" else value_at(by_id[run_id][1], path)
            for run_id in ids
        ]
        assert shown == ordered(order), order
