"""The names that kelt answers are those of the real package, and the documentation tells of each."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kelt
from kelt.wandb_api import names, starting, wandb_run
from kelt.wandb_api.missing import MissingType, NotInKeltError, missing

_TABLE = Path(__file__).parents[2] / "docs" / "from-wandb.md"
_LOOK = """
import inspect, json, pkgutil, wandb
parameters = lambda f: [n for n in inspect.signature(f).parameters if n != "self"]
run = {n: parameters(f) for n, f in vars(wandb.Run).items()
       if n[0] != "_" and inspect.isfunction(f)}
print(json.dumps({
    "version": wandb.__version__,
    "all": wandb.__all__,
    "public": [n for n in dir(wandb) if n[0] != "_" and n not in ("wandb", "annotations")],
    "modules": [m.name for m in pkgutil.iter_modules(wandb.__path__) if m.name[0] != "_"],
    "init": parameters(wandb.init),
    "run": run,
    "of the run": [n for n, f in vars(wandb.Run).items() if n[0] != "_" and isinstance(f, property)],
}))
"""


@pytest.fixture(scope="module")
def wandb() -> dict[str, Any]:
    """What the real package has, as a process of its own sees it."""
    done = subprocess.run(
        [sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_version_and_list_of_the_public_names_are_wandbs(wandb):
    assert wandb["version"] == names.VERSION
    assert tuple(wandb["all"]) == names.PUBLIC


def test_every_public_name_of_wandb_is_found(wandb):
    found = {
        name: names.find("wandb", name)
        for name in {*wandb["public"], *names.PUBLIC} - {"__version__"}
        if name not in names.SUBPACKAGES
    }
    lacking = {name for name, value in found.items() if isinstance(value, MissingType)}
    assert lacking <= names.LACKING


def test_every_module_of_wandb_can_be_imported_and_no_other(wandb):
    assert [name for name in wandb["modules"] if not names.is_submodule(f"wandb.{name}")] == []
    assert not names.is_submodule("wandb.nothing")
    assert not names.is_submodule("wandbish.sdk")


def test_init_and_the_methods_of_a_run_take_what_wandbs_take(wandb):
    assert list(inspect.signature(starting.init).parameters)[:-1] == [
        name for name in wandb["init"] if name != "anonymous"
    ]  # `anonymous` is among the rest
    lacking, differing = [], []
    for name, parameters in wandb["run"].items():
        ours = getattr(wandb_run.Run, name, None)
        if ours is None:
            lacking.append(name)
        elif not _takes(ours, parameters):
            differing.append(name)
    assert lacking == []
    assert differing == []


def _takes(function: Any, parameters: list[str]) -> bool:
    own = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
        return True
    return [name for name in own if name != "self"][: len(parameters)] == parameters


def test_a_run_has_what_wandbs_has(wandb):
    run = starting.init(project="p", mode="disabled")
    assert [name for name in wandb["of the run"] if not hasattr(run, name)] == []
    run.finish()


def test_the_documentation_tells_what_becomes_of_each_public_name(wandb):
    told: dict[str, str] = {}
    for line in _TABLE.read_text().splitlines():
        if (row := re.fullmatch(r"\| (`.+`) \| (\w+) \|.*\|", line)) is not None:
            told |= dict.fromkeys(re.findall(r"`wandb\.(\w+)`", row[1]), row[2])
    assert set(wandb["all"]) <= set(told)
    refused = {name for name in wandb["all"] if told[name] == "refused"}
    lacking = {name for name in refused if isinstance(names.find("wandb", name), MissingType)}
    methods = {name for name in refused if hasattr(wandb_run.Run, name)}
    assert lacking | methods == refused
    assert {name for name in wandb["all"] if name in names.LACKING} <= refused


def test_what_is_missing_can_be_imported_annotated_subclassed_and_asked_about():
    lacking = names.find("wandb", "ArtifactTTL")
    assert not isinstance(3, lacking)
    assert lacking is missing("wandb.ArtifactTTL")
    assert (lacking | None) is not None

    class Own(lacking):
        pass

    for kind in (lacking, Own, lacking.inner):
        with pytest.raises(NotInKeltError, match=r"kelt: wandb\.ArtifactTTL.* is not part of kelt"):
            kind("name", type="model")


def test_kelt_itself_tells_of_names_that_only_wandb_has():
    with pytest.raises(AttributeError, match=r"'Plotly'; wandb has it: .*`kelt run`"):
        kelt.Plotly  # noqa: B018 # as a script would
    with pytest.raises(AttributeError, match=r"'nothing'$"):
        kelt.nothing  # noqa: B018 # as above


def test_a_name_that_wandb_lacks_too_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        names.find("wandb", "nothing")


def test_whoever_is_lenient_gets_something_that_does_nothing(monkeypatch, capsys):
    monkeypatch.setenv("KELT_WANDB_LENIENT", "1")
    sweep = names.find("wandb", "sweep")({"method": "grid"}, project="p")
    with sweep.trial("one") as trial:
        trial.state["a"] = 1
    run = starting.init(project="p", mode="disabled")
    assert not run.link_artifact(sweep, aliases=["best"]).wait()
    run.finish()
    assert capsys.readouterr().err.count("wandb.sweep is not part of kelt and did nothing") == 1
