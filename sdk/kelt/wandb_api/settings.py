"""wandb's settings and variables, as kelt's settings.

What concerns wandb's own machinery (its service, its timeouts) is accepted and has no effect. An
argument beats `wandb.Settings`, which beats kelt's variables, which beat W&B's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from kelt.setting_values import PARSERS
from kelt.settings import variable_of

#: kelt's settings by wandb's names for them.
_NAMES = {
    "entity": "entity",
    "project": "project",
    "mode": "mode",
    "run_id": "run_id",
    "run_name": "name",
    "run_notes": "notes",
    "run_group": "group",
    "run_job_type": "job_type",
    "run_tags": "tags",
    "resume": "resume",
    "reinit": "reinit",
    "silent": "silent",
    "init_timeout": "init_timeout_s",
    "console": "console",
    "x_disable_stats": "disable_stats",
    "x_stats_sampling_interval": "stats_sampling_interval_s",
    "x_label": "label",
    "x_primary": "primary",
    "x_update_finish_state": "x_update_finish_state",  # kelt.given_settings knows it
}
_VARIABLES = {
    "WANDB_ENTITY": "entity",
    "WANDB_PROJECT": "project",
    "WANDB_MODE": "mode",
    "WANDB_RUN_ID": "run_id",
    "WANDB_NAME": "name",
    "WANDB_NOTES": "notes",
    "WANDB_RUN_GROUP": "group",
    "WANDB_JOB_TYPE": "job_type",
    "WANDB_TAGS": "tags",
    "WANDB_RESUME": "resume",
    "WANDB_SILENT": "silent",
    "WANDB_CONSOLE": "console",
    # W&B takes both spellings of what begins with x_.
    "WANDB_X_DISABLE_STATS": "disable_stats",
    "WANDB__DISABLE_STATS": "disable_stats",
    "WANDB_X_STATS_SAMPLING_INTERVAL": "stats_sampling_interval_s",
    "WANDB__STATS_SAMPLING_INTERVAL": "stats_sampling_interval_s",
}
_TRUE = ("1", "true", "yes", "on")


class Settings(SimpleNamespace):
    """`wandb.Settings(...)`: any of wandb's settings by name; those not given are None."""

    def __getattr__(self, name: str) -> Any:
        """None for what was not given."""
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def named_by_kelt(given: Any) -> dict[str, Any]:
    """What somebody gave as settings, a dict or `wandb.Settings`, as far as kelt has it."""
    values = {} if given is None else dict(given) if isinstance(given, Mapping) else vars(given)
    known = (*_NAMES.values(), *PARSERS)
    named = {_NAMES.get(k, k): v for k, v in values.items() if k in _NAMES or k in known}
    return {key: value for key, value in named.items() if value is not None}


def of_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """What W&B's variables say, where kelt's own say nothing."""
    found: dict[str, Any] = {}
    for variable, setting in _VARIABLES.items():
        value = environ.get(variable)
        if value and not environ.get(variable_of(setting)):
            found[setting] = value
    if environ.get("WANDB_DISABLED", "").lower() in _TRUE:
        found["mode"] = "disabled"
    return found


def kelt_mode(mode: str) -> str:
    """The mode as kelt calls it: earlier versions of wandb had other names."""
    return {"dryrun": "offline", "run": "online"}.get(mode, mode)


def kelt_resume(resume: Any) -> Any:
    """What `resume` says, as kelt takes it: wandb's variable and its callers have spellings."""
    if isinstance(resume, str) and resume.lower() in {"", "false", "0"}:
        return None
    return "auto" if isinstance(resume, str) and resume.lower() in _TRUE else resume
