"""`requirements.txt`, as Python's own look into the packages has it."""

from __future__ import annotations

import re
import sys
from importlib.metadata import distributions

from kelt.installed_packages import (
    REQUIREMENTS_NAME,
    installed_packages,
    read_requirements,
    write_requirements,
)


def as_pip_compares(name: str, version: str) -> tuple[str, str]:
    return re.sub(r"[-_.]+", "-", name).lower(), version


def test_packages_are_those_that_python_finds():
    wanted = {as_pip_compares(found.metadata["Name"], found.version) for found in distributions()}
    assert {as_pip_compares(*line.split("==")) for line in installed_packages(sys.path)} == wanted


def test_the_first_of_a_name_counts_and_what_is_no_folder_is_passed_over(tmp_path):
    for place, version in (("a", "1.0"), ("b", "2.0")):
        (tmp_path / place / f"Some_thing-{version}.dist-info").mkdir(parents=True)
        (tmp_path / place / "no_package").mkdir()
    places = [str(tmp_path / name) for name in ("none", "a", "b")]
    assert installed_packages([*places, __file__]) == ["Some_thing==1.0"]


def test_it_is_noted_for_w_and_b_alone(tmp_path):
    write_requirements(tmp_path, upstream="http://127.0.0.1:1")
    assert read_requirements(tmp_path) == ""
    write_requirements(tmp_path, upstream="wandb+http://127.0.0.1:1")
    assert "pytest==" in read_requirements(tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / REQUIREMENTS_NAME).symlink_to(tmp_path / REQUIREMENTS_NAME)
    assert read_requirements(tmp_path / "linked") == ""
