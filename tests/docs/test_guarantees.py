"""docs/guarantees.md says what was run, and names only tests that are there."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"


def script(name):
    """A module of scripts/, as the scripts import each other."""
    known = f"kelt_script_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, ROOT / "scripts" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


def names_in(path):
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)} | {
        f"{node.targets[0].id}"
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def is_there(test):
    path, _, name = test.partition("::")
    where = ROOT / path
    return where.exists() and (not name or name.partition("[")[0].split("::")[0] in names_in(where))


def test_the_table_is_what_the_generator_writes_from_the_results():
    writer = script("write_guarantees")
    results = json.loads(writer.RESULTS.read_text())
    assert writer.rendered(PAGE.read_text(), results) == PAGE.read_text()


def test_all_guarantees_are_described():
    headings = re.findall(r"^### (G\d+)", PAGE.read_text(), re.MULTILINE)
    assert headings == [f"G{number}" for number in range(1, 15)]


def test_every_test_that_the_page_and_the_results_name_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE.read_text())
    results = json.loads(script("write_guarantees").RESULTS.read_text())
    counted = [test for cell in results["cells"] for test in cell["tests"]]
    assert len(named) >= 14
    assert [test for test in {*named, *counted} if not is_there(test)] == []


def test_a_cell_that_the_table_does_not_have_is_refused():
    line = {"phase": "lunch", "fault": "KILL daemon", "count": 1, "failed": 0, "test": "t"}
    with pytest.raises(ValueError, match="no cell"):
        script("write_guarantees").gathered([json.dumps(line)])


def test_every_cell_that_tests_are_marked_with_is_in_the_table():
    writer = script("write_guarantees")
    marks = re.compile(r'covers\(\s*phase="([^"]+)",\s*fault="([^"]+)"')
    for path in (ROOT / "tests").rglob("*.py"):
        for phase, fault in marks.findall(path.read_text()):
            if path != Path(__file__):
                assert phase in writer.PHASES, (path, phase)
                assert fault in writer.FAULTS, (path, fault)
