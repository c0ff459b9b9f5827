"""A run's summary as W&B has it: pure.

Beside last values, which stand by themselves, W&B keeps what a definition asks for under its word:
`{"loss": {"min": 0.1}}`.
"""

from __future__ import annotations

from typing import Any

from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.history_lines import RUNTIME

_BARE = ("last", "none")


def summary_of(run: CarriedRun) -> dict[str, Any]:
    """The whole of it, as each post carries it. What is None stands in no summary of W&B's."""
    state = run.summary
    found: dict[str, Any] = dict(run.inherited_summary)
    for name, metric in state.metrics.items():
        definition = state.definitions.of(name)
        value = metric.value(definition)
        kind = "last" if definition is None else definition.summary
        if kind == "none" or value is None:
            found.pop(name, None)
        else:
            found[name] = value if kind in _BARE else {kind: value}
    for key in state.removed:
        found.pop(key, None)
    found |= {key: value for key, value in state.by_hand.items() if value is not None}
    runtime_s = run.row_facts.get(RUNTIME, 0)
    return {**found, **run.row_facts, "_wandb": {"runtime": int(runtime_s)}}
