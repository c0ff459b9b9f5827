"""`kelt.Settings(...)`: settings by name, to hand to `kelt.init(settings=...)`.

wandb's names of what kelt calls otherwise are understood here and in a plain dict, so that the
documented script for shared runs works as it is:

    wandb.init(id="run", settings=wandb.Settings(x_label="rank_1", mode="shared", x_primary=False))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kelt.errors import SettingsError
from kelt.settings import load_settings

_WANDB_NAMES = {
    "x_label": "label",
    "x_primary": "primary",
    "x_disable_stats": "disable_stats",
    "x_stats_sampling_interval": "stats_sampling_interval_s",
}
#: Whether a writer's end ends the run: the primary's does.
_ENDS_RUN = "x_update_finish_state"


class Settings(dict[str, Any]):
    """Settings by name; a mistake is told at once.

    Raises:
        SettingsError: there is no such setting, or it cannot have that value.
    """

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        load_settings(by_our_names(values), {"KELT_CONFIG": os.devnull})


def by_our_names(given: Mapping[str, object]) -> dict[str, object]:
    """The settings that somebody gave, as kelt calls them.

    Raises:
        SettingsError: two of them contradict each other.
    """
    named = {_WANDB_NAMES.get(name, name): value for name, value in given.items()}
    ends_run = named.pop(_ENDS_RUN, None)
    if ends_run is False:
        if named.get("primary") is True:
            raise SettingsError(
                "x_primary=True and x_update_finish_state=False contradict each other: a shared "
                "run ends as its primary does; leave one of them out."
            )
        named["primary"] = False
    return named
