from __future__ import annotations

from kelt.settings import known_variables
from kelt.unknown_variables import unknown_variables


def test_a_misspelt_variable_is_named_with_the_nearest_that_is_read() -> None:
    environ = {"KELT_FINISH_TIMEOUT": "3", "KELT_PROJECT": "p", "KELT_FOO": "1", "PATH": "/"}
    ignored = "is in the environment and no setting has that name, so it is ignored"
    assert unknown_variables(environ, known_variables()) == [
        f"KELT_FINISH_TIMEOUT {ignored}; did you mean KELT_FINISH_TIMEOUT_S?",
        f"KELT_FOO {ignored}",
    ]


def test_every_setting_and_what_other_programs_read_is_known() -> None:
    environ = dict.fromkeys([*known_variables(), "KELT_SERVER_DIR", "KELT_DAEMON_LISTEN"], "x")
    assert unknown_variables(environ, known_variables()) == []


def test_it_is_said_once_in_a_process_and_never_of_a_silent_one(run_script) -> None:
    code = "import kelt\nfor i in range(2): kelt.init('p', reinit='create_new')\n"
    said = run_script(code, KELT_PROJCT="x", KELT_SILENT="0").stderr
    assert said.count("did you mean KELT_PROJECT?") == 1
    assert "KELT_PROJCT" not in run_script(code, KELT_PROJCT="x").stderr
