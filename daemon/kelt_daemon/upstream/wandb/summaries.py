"""A run's summary as W&B has it: pure.

Beside last values, which stand by themselves, W&B keeps what a definition asks for under its word:
`{"loss": {"min": 0.1, "max": 3}}`.
"""

from __future__ import annotations

from typing import Any

from kelt.metric_definitions import UNDEFINED
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.history_lines import RUNTIME


def summary_of(run: CarriedRun) -> dict[str, Any]:
    """The whole of it, as each post carries it. What is None stands in no summary of W&B's."""
    state = run.summary
    found: dict[str, Any] = dict(run.inherited_summary)
    for name, metric in state.metrics.items():
        definition = state.definitions.of(name) or UNDEFINED
        asked = {kind: metric.value(kind, definition.goal) for kind in definition.summaries}
        values = {kind: value for kind, value in asked.items() if value is not None}
        if not values or "none" in asked:
            found.pop(name, None)
        else:
            found[name] = values["last"] if asked.keys() == {"last"} else values
    for key in state.removed:
        found.pop(key, None)
    found |= {key: value for key, value in state.by_hand.items() if value is not None}
    runtime_s = run.row_facts.get(RUNTIME, 0)
    return {**found, **run.row_facts, "_wandb": {"runtime": int(runtime_s)}}
