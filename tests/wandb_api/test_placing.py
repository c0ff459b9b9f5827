from __future__ import annotations

from types import ModuleType

import pytest

from kelt.errors import UsageError
from kelt.wandb_api.placing import FOLDER, answer_imports, python_path


def test_the_folder_stands_in_front_of_what_was_there_and_only_once():
    assert python_path({}) == str(FOLDER)
    once = python_path({"PYTHONPATH": "/a:/b"})
    assert once == f"{FOLDER}:/a:/b"
    assert python_path({"PYTHONPATH": once}) == once
    assert python_path({"PYTHONPATH": f"/a:{FOLDER}"}) == f"{FOLDER}:/a"


def test_this_process_and_its_children_look_there_first():
    path, environ = ["/script"], {"HOME": "/"}
    answer_imports(path, environ, {})
    answer_imports(path, environ, {})
    assert path == [str(FOLDER), "/script"]
    assert environ == {"HOME": "/", "PYTHONPATH": str(FOLDER)}


def test_where_wandb_is_imported_already_it_is_said_so():
    wandb = ModuleType("wandb")
    wandb.__file__ = "/site-packages/wandb/__init__.py"
    with pytest.raises(UsageError, match="before whatever imports wandb"):
        answer_imports([], {}, {"wandb": wandb})


def test_the_package_there_has_wandbs_metadata():
    [metadata] = FOLDER.glob("wandb-*.dist-info/METADATA")
    assert "not the wandb package" in metadata.read_text()
    assert (FOLDER / "wandb" / "__init__.py").is_file()
