"""Kills its own process in the middle of a named phase, by wrapping the phase's function at import.

    TORTURE_POINT    phase:moment:nth:seed, the nth occurrence counted from 1
    TORTURE_SYNC_S   how long every sync of a journal takes, for daemons that are to be caught at it
    TORTURE_FOLDER   where the victim leaves its mark, so that each point kills once and is proved

The production code holds no hook: a finder on `sys.meta_path` changes a module right after it was
executed, before anybody can import a name out of it. Where a moment lies inside a function, a trace
of that one call kills before the line that holds a given text is executed; a text that is no
longer there fails the import, and so the test. With a seed other than 0 the line is drawn.
"""

import importlib.machinery
import sys

from kill_moments import slow_syncs
from kill_table import ALWAYS, BESIDE, POINTS
from kill_wrapping import Kill


class Finder:
    """Changes modules right after they were executed."""

    def __init__(self, plants, kill):
        self._plants, self._kill = plants, kill

    def find_spec(self, name, path=None, _target=None):
        plants = self._plants.get(name)
        if not plants:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_plant(module):
            execute(module)
            for plant in plants:
                plant(module, self._kill)

        spec.loader.exec_module = execute_and_plant
        return spec


def role_of(argv):
    for mark, role in (
        ("kelt_daemon", "daemon"), ("kelt_server", "server"), ("kill_point_trainer.py", "trainer")
    ):  # fmt: skip
        if any(mark in argument for argument in argv):
            return role
    return ""


def install(environ):
    """Plants the point of the environment in this process, if it plays the victim's part."""
    phase, moment, nth, seed = environ["TORTURE_POINT"].split(":")
    role = role_of(sys.orig_argv)
    name = f"{phase}:{moment}"
    kill = Kill(folder=environ["TORTURE_FOLDER"], point=name, nth=int(nth), seed=int(seed))
    point = POINTS.get(name)
    plants = {}
    if point is not None:
        plants = {module: [plant] for (part, module), plant in ALWAYS.items() if part == role}
    if "TORTURE_SYNC_S" in environ and role == "daemon":
        plants.setdefault("kelt_daemon.filesystem", []).append(slow_syncs)
    if point is not None and point.role == role:
        plants.setdefault(point.module, []).append(point.plant)
        beside = BESIDE.get(name) or BESIDE.get(phase)
        if beside is not None:
            plants.setdefault("kelt_daemon.commit", []).append(beside)
    if role:
        sys.meta_path.insert(0, Finder(plants, kill))
