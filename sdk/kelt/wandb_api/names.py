"""Which name of which module of wandb's is answered by what.

Names are found when they are asked for, so that `import wandb` loads little. What wandb has and
kelt lacks is answered by `missing`; what wandb does not have either is an AttributeError.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kelt.wandb_api.missing import missing


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: The version whose names these are.
VERSION = "0.31.0"
#: `wandb.__all__` of that version.
PUBLIC = _words(
    "__version__ init finish setup save sweep controller agent config log summary join Api Graph "
    "Image Plotly Video Audio Table EvalTable Html box3d Object3D Molecule Histogram ArtifactTTL "
    "log_artifact use_artifact log_model use_model link_model define_metric watch unwatch "
    "plot_table Run"
)
_MEDIA = (
    "Audio Bokeh EvalTable Graph Histogram Html Image JoinedTable Molecule Object3D Plotly Table "
    "Video Classes box3d"
)
_TERM = "termlog termwarn termerror termsetup"
_FUNCTIONS = (
    "init finish join log define_metric watch unwatch save alert mark_preempting pin_config_keys "
    "log_artifact use_artifact log_model use_model link_model login setup teardown require "
    "ensure_configured"
)
_ERRORS = (
    "Error CommError AuthenticationError UsageError UnsupportedError WandbCoreNotAvailableError"
)
#: For each module: a module of kelt's, and the names that it answers.
ANSWERS: dict[str, dict[str, str]] = {
    "wandb": {
        "starting": _FUNCTIONS,
        "artifacts": "Artifact",
        "reading": "Api",
        "media": _MEDIA,
        "charts": "plot_table visualize",
        "terminal": _TERM,
        "errors": "Error CommError UsageError",
        "wandb_run": "Run",
        "describing": "Config",
        "settings": "Settings",
        "small_parts": "AlertLevel patched helper",
    },
    "wandb.apis": {},
    "wandb.apis.public": {"reading": "Api"},
    "wandb.data_types": {
        "media": f"{_MEDIA} WBValue Media BatchableMedia BoundingBoxes2D ImageMask"
        " PartitionedTable WBTraceTree"
    },
    "wandb.errors": {"errors": _ERRORS},
    "wandb.errors.term": {"terminal": _TERM},
    "wandb.integration": {},
    "wandb.integration.keras": {
        "keras_callbacks": "WandbMetricsLogger WandbModelCheckpoint WandbCallback"
    },
    "wandb.keras": {"keras_callbacks": "WandbMetricsLogger WandbModelCheckpoint WandbCallback"},
    "wandb.plot": {
        "charts": "line histogram scatter bar roc_curve pr_curve confusion_matrix line_series"
        " plot_table visualize CustomChart Visualize"
    },
    "wandb.sdk": {
        "artifacts": "Artifact",
        "starting": "init setup login require finish teardown",
        "describing": "Config Summary",
        "settings": "Settings",
        "small_parts": "AlertLevel helper",
    },
    "wandb.sdk.artifacts.artifact": {"artifacts": "Artifact"},
    "wandb.sdk.data_types": {},
    "wandb.sdk.lib": {"wandb_run": "RunDisabled SummaryDisabled"},
    "wandb.sdk.lib.config_util": {"errors": "ConfigError"},
    "wandb.sdk.lib.disabled": {"wandb_run": "RunDisabled SummaryDisabled"},
    "wandb.sdk.lib.runid": {"small_parts": "generate_id generate_fast_id"},
    "wandb.sdk.lib.telemetry": {"small_parts": "context"},
    "wandb.sdk.wandb_alerts": {"small_parts": "AlertLevel"},
    "wandb.sdk.wandb_config": {"describing": "Config"},
    "wandb.sdk.wandb_init": {"starting": "init"},
    "wandb.sdk.wandb_login": {"starting": "login"},
    "wandb.sdk.wandb_run": {"wandb_run": "Run", "starting": "finish"},
    "wandb.sdk.wandb_settings": {"settings": "Settings"},
    "wandb.sdk.wandb_setup": {"starting": "setup teardown"},
    "wandb.sdk.wandb_summary": {"describing": "Summary"},
    "wandb.util": {"small_parts": "generate_id make_artifact_name_safe"},
    "wandb.wandb_run": {"wandb_run": "Run"},
}
_TARGETS = {
    module: {name: target for target, names in parts.items() for name in names.split()}
    for module, parts in ANSWERS.items()
}
#: Values that change with the current run.
_LIVE = {"run": "current_run", "config": "current_config", "summary": "current_summary"}
#: What the package itself has and kelt lacks.
LACKING = frozenset(
    _words(
        "ArtifactTTL agent attach controller restore sweep trigger profiler "
        "sagemaker_auth api wandb_lib wandb_sdk wandb_torch"
    )
)
#: Whatever is under these is importable, though kelt has nothing of it unless it is said above.
SUBPACKAGES = frozenset(
    _words(
        "agents analytics apis automations catboost cli data_types docker env errors gym "
        "integration jupyter keras lightgbm mpmain plot proto sacred sandbox sdk sklearn "
        "tensorboard tensorflow trigger util wandb_agent wandb_controller wandb_run xgboost"
    )
)


def is_submodule(name: str) -> bool:
    """Whether a dotted name is that of one of wandb's modules, or under one."""
    package, *path = name.split(".")
    return package == "wandb" and bool(path) and path[0] in SUBPACKAGES


def find(module: str, name: str) -> Any:
    """What a module's name stands for.

    Raises:
        AttributeError: wandb has no such name.
    """
    full = f"{module}.{name}"
    if name.startswith("__"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    if module == "wandb" and name in _LIVE:
        return getattr(import_module("kelt.wandb_api.starting"), _LIVE[name])()
    if (target := _TARGETS.get(module, {}).get(name)) is not None:
        return getattr(import_module(f"kelt.wandb_api.{target}"), name)
    if full in ANSWERS or (module == "wandb" and name in SUBPACKAGES):
        return import_module(full)
    if module == "wandb" and name not in LACKING:
        raise AttributeError(
            f"module 'wandb' has no attribute {name!r} (kelt answers with the names of {VERSION})"
        )
    return missing(full)


def known(module: str) -> list[str]:
    """The names that `dir()` shows."""
    own = sorted({*_TARGETS.get(module, {}), *(_LIVE if module == "wandb" else ())})
    return [*own, "__version__"] if module == "wandb" else own
