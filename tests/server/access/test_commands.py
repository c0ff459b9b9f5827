"""`kelt server user|team|key`, as they are run."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kelt_server.__main__ import main
from kelt_server.access.account_file import AccountFile

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("KELT_SERVER_DIR", str(tmp_path / "data"))

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        assert main(arguments) == code
        found = capsys.readouterr()
        return found.out, found.err

    return run


def test_a_key_is_printed_once_and_fits_every_wandb_client(run: Run, tmp_path: Path) -> None:
    out, err = run("user", "add", "ann", "--admin")
    key = out.strip()
    assert len(key) == 40
    assert key.isalnum()
    assert "not shown again" in err
    caller = AccountFile(tmp_path / "data").accounts().caller(key)
    assert caller is not None
    assert caller.is_admin
    assert all(key not in text for text in run("user", "ls", "--json"))


def test_users_teams_and_keys(run: Run) -> None:
    run("user", "add", "ann")
    run("user", "add", "bob")
    run("team", "add", "crew")
    run("team", "join", "crew", "ann")
    second, _ = run("key", "add", "ann")
    users = [json.loads(line) for line in run("user", "ls", "--json")[0].splitlines()]
    assert [(u["name"], u["teams"], len(u["keys"])) for u in users] == [
        ("ann", ["crew"], 2),
        ("bob", [], 1),
    ]
    assert run("team", "ls")[0] == "crew  ann\n"
    keys = [line.split()[0] for line in run("key", "ls", "ann")[0].splitlines()]
    run("key", "rm", "ann", keys[1])
    assert [line.split()[0] for line in run("key", "ls", "ann")[0].splitlines()] == keys[:1]
    run("team", "leave", "crew", "ann")
    run("team", "rm", "crew")
    run("user", "rm", "ann")
    assert "nobody is let in" in run("user", "rm", "bob")[1]
    assert second


def test_a_key_may_be_given_in_a_file_or_as_an_argument(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("g" * 40 + "\n")
    assert run("user", "add", "ann", "--key-file", str(tmp_path / "key"))[0] == ""
    monkeypatch.setattr(sys, "stdin", io.StringIO("h" * 40))
    run("key", "add", "ann", "--key-file", "-")
    assert run("user", "add", "bob", "--key", "k" * 40)[0] == ""
    run("key", "add", "bob", "--key", "l" * 40)
    accounts = AccountFile(tmp_path / "data").accounts()
    assert all(accounts.caller(letter * 40) for letter in "ghkl")
    run("user", "add", "eve", "--key", "m" * 40, "--key-file", "-", code=2)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["user"], 2, "add|ls|rm"),
        (["user", "add"], 2, "name"),
        (["user", "add", "a/b"], 1, "cannot be a name"),
        (["user", "rm", "nobody"], 1, "no user 'nobody'"),
        (["team", "join", "crew", "nobody"], 1, "no user"),
        (["key", "add", "nobody"], 1, "no user"),
        (["user", "add", "ann", "--key-file", "/nowhere"], 1, "cannot be read"),
        (["user", "add", "ann", "--key", " "], 1, "--key is empty"),
    ],
)
def test_mistakes_are_one_sentence(run: Run, arguments: list[str], code: int, says: str) -> None:
    out, err = run(*arguments, code=code)
    assert out == ""
    assert err.startswith("kelt server: ")
    assert says in err
    assert err.count("\n") == 1
