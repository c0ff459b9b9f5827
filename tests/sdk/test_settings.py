from __future__ import annotations

from pathlib import Path

import pytest

from kelt.config_file import config_file_path
from kelt.errors import SettingsError
from kelt.settings import load_settings


@pytest.fixture
def config_file(tmp_path: Path):
    path = tmp_path / "config.toml"

    def write(text: str, mode: int = 0o600) -> dict[str, str]:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return {"KELT_CONFIG": str(path), "KELT_DIR": str(tmp_path / "state")}

    return write


def test_an_argument_beats_the_environment_which_beats_the_file(config_file) -> None:
    environ = config_file('project = "file"\nentity = "file"\ngroup = "file"\n')
    environ |= {"KELT_PROJECT": "environment", "KELT_ENTITY": "environment"}
    settings = load_settings({"project": "argument", "entity": None}, environ)
    assert (settings.project, settings.entity, settings.group) == (
        "argument",
        "environment",
        "file",
    )


def test_without_anything_there_are_defaults(tmp_path: Path) -> None:
    settings = load_settings(
        {}, {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    )
    assert settings.upstream == "http://127.0.0.1:8470"
    assert settings.project == "Uncategorized"
    assert settings.mode == "online"
    assert settings.state_dir.root == tmp_path / "kelt"
    assert (settings.init_timeout_s, settings.finish_timeout_s) == (5.0, 30.0)


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("KELT_MODE", "onlin", "'online' or 'offline' or 'disabled'"),
        ("KELT_RESUME", "maybe", "'allow' or 'must' or 'never' or 'auto'"),
        ("KELT_UPSTREAM", "localhost:1", "an address such as"),
        ("KELT_FINISH_TIMEOUT_S", "soon", "a number of seconds, 0 or more"),
        ("KELT_INIT_TIMEOUT_S", "-1", "a number of seconds, 0 or more"),
        ("KELT_SILENT", "perhaps", "true or false"),
        ("KELT_SPOOL_BYTES_MAX", "12", "at least 1048576"),
        ("KELT_PROJECT", "a/b", "printable characters without"),
        ("KELT_RUN_ID", "../x", "printable characters without"),
    ],
)
def test_a_value_that_cannot_be_names_variable_value_and_what_is_allowed(
    tmp_path, variable, value, allowed
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {variable: value, "KELT_CONFIG": "/dev/null"})
    message = str(caught.value)
    assert message.startswith(f"{variable} cannot be {value!r}: it must be ")
    assert allowed in message


def test_a_setting_that_does_not_exist_is_named(config_file) -> None:
    with pytest.raises(SettingsError, match="no setting 'modee'"):
        load_settings({"modee": "x"}, config_file(""))
    with pytest.raises(SettingsError, match=r"no setting 'colour' \(in .*config\.toml\)"):
        load_settings({}, config_file('colour = "red"'))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_in_a_file_that_others_can_read_is_refused(config_file, mode) -> None:
    with pytest.raises(SettingsError, match="chmod 600"):
        load_settings({}, config_file('api_key = "secret"', mode))
    assert load_settings({}, config_file('project = "p"', mode)).project == "p"


def test_a_key_is_never_shown(config_file) -> None:
    settings = load_settings({}, config_file('api_key = "canary-123"'))
    assert settings.api_key == "canary-123"
    assert "canary-123" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        load_settings({"api_key": 12345}, config_file(""))
    assert "12345" not in str(caught.value)


def test_a_file_that_is_not_toml_is_one_sentence(config_file) -> None:
    with pytest.raises(SettingsError, match="is not TOML"):
        load_settings({}, config_file("= nonsense"))


def test_the_config_file_lies_in_the_xdg_folder(tmp_path: Path) -> None:
    assert config_file_path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "kelt" / "config.toml"


def test_tags_are_a_list_or_a_text_with_commas(tmp_path: Path) -> None:
    environ = {"KELT_TAGS": "a, b,,a", "KELT_CONFIG": "/dev/null"}
    assert load_settings({}, environ).tags == ("a", "b")
    assert load_settings({"tags": ["c"]}, environ).tags == ("c",)


def test_a_config_file_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.toml cannot be read \(No such file"):
        load_settings({}, {"KELT_CONFIG": str(tmp_path / "none.toml")})
    assert load_settings({}, {"XDG_CONFIG_HOME": str(tmp_path)}).project == "Uncategorized"
