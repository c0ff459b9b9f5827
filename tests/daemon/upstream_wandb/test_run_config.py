"""Definitions of metrics in W&B's numbers, and back out of a config that W&B has."""

from __future__ import annotations

from kelt.metric_definitions import MetricDefinition
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.run_config import config_of, metrics_of, values_of


def defined(name: str, **more) -> MetricDefinition:
    return MetricDefinition(name=name, **more)


def test_the_best_of_a_metric_has_its_goal():
    (item,) = metrics_of([defined("acc", summary="best", goal="maximize")])
    assert item == {"1": "acc", "6": [3], "7": [4], "8": 2}


def test_a_step_metric_is_named_by_its_place_and_stands_in_the_list():
    items = metrics_of([defined("val/*", step_metric="epoch", hidden=True), defined("lr")])
    assert items == [
        {"2": "val/*", "6": [1, 2], "7": [], "5": 3},
        {"1": "lr", "6": [3], "7": []},
        {"1": "epoch", "6": [], "7": []},
    ]


def test_a_later_definition_takes_the_place_of_one_that_w_and_b_has():
    before = [{"1": "epoch"}, {"1": "loss", "5": 1, "7": [1]}, {"1": "kept"}]
    items = metrics_of([defined("loss", step_metric="epoch", summary="max")], before=before)
    assert items == [{"1": "epoch"}, {"1": "loss", "6": [1, 3], "7": [2], "5": 1}, {"1": "kept"}]


def test_what_is_w_and_bs_own_is_not_taken_for_the_users():
    run = CarriedRun(writer_id=bytes(16), config={"lr": 0.1, "n": {"a": [1]}}, lost_rows=3)
    assert values_of(config_of(run)) == ({"lr": 0.1, "n": {"a": [1]}}, [])
    for foreign in (None, [], "x", {"lr": 1, "_wandb": {"value": {"m": 3}}}):
        assert values_of(foreign) == ({}, [])
