"""The planted faults of `make mutants` still fit the code, so that the long run says something."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
try:
    from mutant_list import MUTANTS
    from mutants import apply
finally:
    sys.path.pop(0)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_planted_fault_replaces_occurs_once_and_leaves_python(mutant, tmp_path):
    for edit in mutant.edits:
        for path in (ROOT / edit.folder).rglob("*.py"):
            text = path.read_text()
            if edit.search in text:
                copy = tmp_path / edit.folder / path.relative_to(ROOT / edit.folder)
                if not copy.exists():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_text(text)
    for edit in mutant.edits:
        apply(edit, tmp_path)
    for path in tmp_path.rglob("*.py"):
        compile(path.read_text(), str(path), "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_must_notice_it_are_there(mutant):
    from docs.test_guarantees import is_there

    assert mutant.tests
    assert [test for test in mutant.tests if not is_there(test)] == []


def test_there_are_at_least_twelve():
    assert len(MUTANTS) >= 12
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
