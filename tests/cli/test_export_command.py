"""What `kelt export` refuses before it asks anybody."""

import pytest
from typer.testing import CliRunner

from kelt.cli.exit_codes import CliError
from kelt.cli.main import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "csv"], "Name runs, or --project, or --all"),
        (["p/r", "--all", "-f", "csv"], "Name runs, or --project, or --all"),
        (["./r", "p/r", "-f", "csv"], "do not go together with runs of a server"),
        (["p/r", "-f", "csv", "--branch-point"], "is for --format wandb"),
        (["p/r", "-f", "csv", "--force", "--skip-existing"], "exclude each other"),
        (["p/r", "-f", "csv", "-o", "x.parquet"], "does not end as --format csv does"),
        (["p/r", "-f", "wandb", "-o", "x.csv"], "does not end as --format wandb does"),
        (["p/r", "-f", "csv", "-o", "x.csv", "--files"], "is a file for rows alone"),
    ],
)
def test_a_mistake_in_the_arguments_is_named(arguments, said):
    result = CliRunner().invoke(app, ["export", *arguments])
    assert isinstance(result.exception, CliError)
    assert (result.exception.code, said in str(result.exception)) == (2, True)
