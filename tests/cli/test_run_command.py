from __future__ import annotations

import pytest

from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.run_command import command_of


def find_program(name: str) -> str | None:
    return {"torchrun": "/bin/torchrun"}.get(name)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train.py", "--lr", "1"], ["python", "train.py", "--lr", "1"]),
        (["--", "train.py", "--", "x"], ["python", "train.py", "--", "x"]),
        (["-m", "package.module", "-v"], ["python", "-m", "package.module", "-v"]),
        (["torchrun", "--nproc-per-node", "2", "train.py"],
         ["/bin/torchrun", "--nproc-per-node", "2", "train.py"]),
    ],
)  # fmt: skip
def test_scripts_and_modules_are_run_by_python_and_programs_as_they_are(arguments, command):
    assert command_of(arguments, python="python", find_program=find_program) == command


@pytest.mark.parametrize("arguments", [[], ["--"], ["-m"], ["no-such-program"]])
def test_where_there_is_nothing_to_run_it_is_wrong_usage(arguments):
    with pytest.raises(CliError) as caught:
        command_of(arguments, python="python", find_program=find_program)
    assert caught.value.code == ExitCode.USAGE
