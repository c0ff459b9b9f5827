"""`kelt run`: a script, module or program that uses wandb, with kelt in its place."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.terminal import say
from kelt.wandb_api.missing import LENIENT
from kelt.wandb_api.placing import FOLDER, python_path


def run(
    context: typer.Context,
    *,
    path: Annotated[
        bool,
        typer.Option(
            "--path", help="Print the folder to put in front of PYTHONPATH, and start nothing."
        ),
    ] = False,
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient", help="What kelt lacks, such as artifacts, does nothing instead of raising."
        ),
    ] = False,
) -> None:
    """Run a script that imports wandb, with kelt answering.

    kelt run train.py --lr 0.1

    Also `kelt run -m package.module …` and `kelt run torchrun … train.py`. Whatever Python the
    script starts has it too. Where the command cannot be changed:
    export PYTHONPATH=$(kelt run --path)
    """
    if path:
        say(str(FOLDER))
        return
    command = command_of(context.args, python=sys.executable, find_program=_find_program)
    sys.stdout.flush()
    sys.stderr.flush()
    environ = {**os.environ, "PYTHONPATH": python_path(os.environ)}
    if lenient:
        environ[LENIENT] = "1"
    try:
        os.execve(command[0], command, environ)  # noqa: S606 # what the user asked for
    except OSError as error:
        raise CliError(f"`{command[0]}` cannot be started: {error.strerror}.") from error


def _find_program(name: str) -> str | None:
    """Looks beside this Python first: its torchrun, where its environment is not activated too."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return shutil.which(name, path=os.pathsep.join(places))


def command_of(
    arguments: Sequence[str], *, python: str, find_program: Callable[[str], str | None]
) -> list[str]:
    """The program to become and its arguments.

    Args:
        arguments: what stands behind `kelt run`.
        python: the interpreter of scripts and modules: kelt's own.
        find_program: finds a program by its name, as a shell does.

    Raises:
        CliError: there is nothing to run.
    """
    words = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    if not words or words == ["-m"]:
        raise CliError(
            "`kelt run` wants a script, as in `kelt run train.py --lr 0.1`, or `-m module`, or a "
            "program such as torchrun.",
            code=ExitCode.USAGE,
        )
    if words[0] == "-m" or words[0].endswith((".py", ".pyz")):
        return [python, *words]
    program = find_program(words[0])
    if program is None:
        raise CliError(
            f"`kelt run`: {words[0]!r} is no script (.py) and no program on PATH.",
            code=ExitCode.USAGE,
        )
    return [program, *words[1:]]
