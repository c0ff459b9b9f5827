from __future__ import annotations

import importlib.metadata
import re

import pytest

from kelt.cli.programs import DEMO_MODULES, SERVER_MODULES

IMPORT_NAMES = {"scikit-learn": "sklearn", "graphql-core": "graphql"}


@pytest.mark.parametrize(("extra", "modules"), [("server", SERVER_MODULES), ("demo", DEMO_MODULES)])
def test_what_is_looked_for_is_what_the_extra_brings(extra, modules):
    wanted = set()
    for line in importlib.metadata.requires("kelt") or []:
        name = re.match(r"[A-Za-z0-9_.-]+", line)[0]
        if re.search(rf"extra == ['\"]{extra}['\"]", line) and name != "kelt":
            wanted.add(IMPORT_NAMES.get(name, name))
    assert wanted <= set(modules)
    assert set(SERVER_MODULES) <= set(modules)
    assert wanted
