"""What people may name to be synced, and what is said of a path that is nothing of it."""

from __future__ import annotations

from pathlib import Path

from kelt.errors import UsageError
from kelt.other_trackers.foreign_run import Target
from kelt.setting_values import PARSERS
from kelt.wandb_files.finding import is_wandb_file

_NAMED = (
    "run folders, W&B's .wandb files, TensorBoard's event files, an MLflow store, Neptune's "
    "exported files, or folders of them"
)


def is_to_sync(path: Path) -> bool:
    """Whether a path is a folder, or a file of a tracker that is known."""
    if path.is_dir() or is_wandb_file(path):
        return True
    from kelt.other_trackers.finding import is_foreign_file  # noqa: PLC0415 # loads much

    try:
        return is_foreign_file(path)
    except OSError:
        return False


def checked_target(caller: str, project: str | None, entity: str | None) -> Target:
    """Where runs of other trackers go.

    Args:
        caller: what stands before the name of an argument.
        project: None: as they say, or are called.
        entity: None: the server's default.

    Raises:
        UsageError: a name that cannot be.
    """
    for name, value in (("project", project), ("entity", entity)):
        try:
            if value is not None:
                PARSERS[name](value)
        except ValueError as error:
            raise UsageError(f"{caller}{name} is {value!r}; it is to be {error}.") from None
    return Target(entity=entity or "", project=project or "")


def not_to_sync(path: Path) -> str:
    """What is wrong with a path that is neither."""
    what = "is no file of a tracker that kelt knows" if path.is_file() else "is no folder"
    return f"{path} {what}. Name {_NAMED}."


def nothing_in(path: Path) -> str:
    """What is wrong with a folder that has nothing to send."""
    return (
        f"{path} holds no run folder (a folder with run.json), no .wandb file, and no run of "
        "TensorBoard, MLflow or Neptune's exporter."
    )
