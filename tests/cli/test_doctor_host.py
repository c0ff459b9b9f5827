from __future__ import annotations

import os
from pathlib import Path

import pytest

from kelt.cli import doctor_host
from kelt.cli.doctor_host import (
    check_config,
    check_filesystem,
    check_kernel,
    check_python,
    check_space,
    check_state_dir,
    kernel_version,
)
from kelt.state_dir import StateDir


def test_a_python_that_is_too_old_fails():
    assert check_python((3, 10, 0)).level == "ok"
    assert check_python((3, 9, 18)).level == "fail"


def test_a_state_folder_that_is_not_there_yet_will_be_made(tmp_path):
    found = check_state_dir(StateDir(tmp_path / "a" / "b"))
    assert (found.level, "will be made" in found.text) == ("ok", True)
    assert not (tmp_path / "a").exists()


def test_a_state_folder_that_others_can_read_is_a_warning_with_the_command_to_run(tmp_path):
    root = tmp_path / "state"
    root.mkdir(mode=0o755)
    found = check_state_dir(StateDir(root))
    assert found.level == "warn"
    assert f"chmod 700 {root}" in found.text
    root.chmod(0o700)
    assert check_state_dir(StateDir(root)).level == "ok"


def test_a_file_where_the_state_folder_should_be_fails(tmp_path):
    path = tmp_path / "state"
    path.write_text("")
    assert check_state_dir(StateDir(path)).level == "fail"
    assert check_state_dir(StateDir(path / "below")).level == "fail"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_state_folder_of_somebody_else_fails(tmp_path):
    root = tmp_path / "state"
    root.mkdir()
    os.chown(root, 12345, -1)
    found = check_state_dir(StateDir(root))
    assert (found.level, "belongs to user 12345" in found.text) == ("fail", True)


@pytest.mark.parametrize(("free", "level"), [(10 * 2**30, "ok"), (2**29, "warn"), (2**20, "fail")])
def test_little_space_warns_and_none_fails(tmp_path, monkeypatch, free, level):
    usage = type("Usage", (), {"free": free, "total": 2**40})
    monkeypatch.setattr(doctor_host.shutil, "disk_usage", lambda _: usage)
    assert check_space(tmp_path / "not" / "there").level == level


@pytest.mark.parametrize(
    ("kind", "level", "remedy"),
    [
        ("ext4", "ok", ""),
        ("", "ok", ""),
        ("nfs4", "warn", "dir="),
        ("tmpfs", "warn", "reboot"),
    ],
)
def test_filesystems_that_lose_or_share_data_are_named(kind, level, remedy):
    found = check_filesystem(kind, Path("/state"))
    assert (found.level, remedy in found.text) == (level, True)


@pytest.mark.parametrize(
    ("release", "has_info", "level"),
    [
        ("6.18.44-fc", True, "ok"),
        ("6.15.0", True, "ok"),
        ("6.14.2-generic", True, "warn"),
        ("5.15.0-1", False, "warn"),
        ("6.18.0", False, "warn"),
    ],
)
def test_the_kernel_is_asked_whether_it_tells_how_processes_end(release, has_info, level):
    assert check_kernel(release, has_pidfd_info=has_info).level == level


def test_kernel_releases_of_any_form_are_read():
    assert kernel_version("6.18.44-fc-v595") == (6, 18)
    assert kernel_version("7") == (7, 0)
    assert kernel_version("unknown") == (0, 0)


def test_settings_that_cannot_be_understood_fail_with_their_sentence(tmp_path):
    path = tmp_path / "config.toml"
    environ = {"KELT_CONFIG": str(path), "KELT_DIR": str(tmp_path)}
    assert check_config(None, {"XDG_CONFIG_HOME": str(tmp_path)}).level == "ok"
    assert check_config(None, environ).level == "fail"
    path.write_text('api_key = "secret"\n')
    path.chmod(0o644)
    found = check_config(None, environ)
    assert (found.level, "chmod 600" in found.text) == ("fail", True)
    path.chmod(0o600)
    assert check_config(None, environ).level == "ok"
    path.write_text("mode = 'online'\n")
    path.chmod(0o666)
    assert check_config(None, environ).level == "warn"
    assert check_config("nonsense", environ).level == "fail"
