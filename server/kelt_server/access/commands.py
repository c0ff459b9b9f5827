"""`kelt server user|team|key`: changes the accounts in a server's folder, whether or not it runs.

A key that was made is all that is written to standard output, once; it cannot be had again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kelt_server.access.account_file import AccountFile, new_key
from kelt_server.access.accounts import Accounts, team_json, user_json
from kelt_server.errors import StartError

COMMANDS = ("user", "team", "key")
_Parser = argparse.ArgumentParser


def run_command(
    arguments: Sequence[str],
    *,
    parser: type[_Parser],
    folder: Path,
    environment_note: str,
    now: float,
) -> None:
    """Does what one of the commands asks for.

    Args:
        arguments: from the command's name on.
        parser: makes one that tells mistakes as the server does.
        folder: of the server, where `--dir` names none.
        environment_note: how else it is named.
        now: the time of day.

    Raises:
        KeltServerError: it cannot be done.
    """
    flags = _arguments(parser, environment_note).parse_args(arguments)
    file = AccountFile((flags.dir or folder).expanduser().absolute())
    _ACTIONS[flags.command, flags.action](file, flags, now)


def _arguments(parser: type[_Parser], environment_note: str) -> _Parser:
    top = parser(prog="kelt server", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, parser_class=parser)
    for command, actions in _SHAPES.items():
        one = commands.add_parser(command, allow_abbrev=False)
        chosen = one.add_subparsers(
            dest="action", required=True, parser_class=parser, metavar="|".join(actions)
        )
        for action, (about, names) in actions.items():
            made = chosen.add_parser(action, help=about, description=about, allow_abbrev=False)
            made.add_argument("--dir", type=Path, help=f"the server's folder ({environment_note})")
            for name in names:
                made.add_argument(name)
            if action == "ls":
                made.add_argument("--json", action="store_true", help="one JSON object a line")
            if (command, action) == ("user", "add"):
                made.add_argument("--admin", action="store_true", help="may do everything")
            if action == "add" and command != "team":
                given = made.add_mutually_exclusive_group()
                given.add_argument(
                    "--key", help="take this key; others on this machine can see it meanwhile"
                )
                given.add_argument(
                    "--key-file", help="take the key in this file (`-`: standard input)"
                )
    return top


_SHAPES: Mapping[str, Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "user": {
        "add": ("Add a user, and print the user's key once.", ("name",)),
        "ls": ("List users.", ()),
        "rm": ("Remove a user with all keys; the runs stay.", ("name",)),
    },
    "team": {
        "add": ("Add a team: an entity that its members read and write.", ("name",)),
        "ls": ("List teams.", ()),
        "rm": ("Remove a team; its runs stay.", ("name",)),
        "join": ("Make a user a member of a team.", ("team", "user")),
        "leave": ("Take a user out of a team.", ("team", "user")),
    },
    "key": {
        "add": ("Make another key for a user, and print it once.", ("name",)),
        "ls": ("List a user's keys, by their ids.", ("name",)),
        "rm": ("Remove a key; whoever uses it is refused at once.", ("name", "id")),
    },
}


def _add_user(file: AccountFile, flags: Any, now: float) -> None:
    key = _given_key(flags) or new_key()

    def change(accounts: Accounts) -> Accounts:
        made = accounts.with_user(flags.name, is_admin=flags.admin, now=now)
        return made.with_key(flags.name, key, now=now)

    accounts = file.change(change)
    _tell_key(flags.name, key, is_given=_is_given(flags))
    if not any(user.is_admin for user in accounts.users.values()):
        _note("nobody is an admin yet; `kelt server user add NAME --admin` makes one")


def _remove_user(file: AccountFile, flags: Any, _now: float) -> None:
    accounts = file.change(lambda accounts: accounts.without_user(flags.name))
    if not accounts.users:
        _note(
            f"there is no user left, so nobody is let in; add one, or remove {file.path} to let "
            "in everybody"
        )


def _list_users(file: AccountFile, flags: Any, _now: float) -> None:
    accounts = file.accounts()
    found = [user_json(accounts, name) for name in sorted(accounts.users)]
    rows = [
        (u["name"], "admin" if u["is_admin"] else "", _counted(len(u["keys"]), "key"), *u["teams"])
        for u in found
    ]
    _show(found, rows, as_json=flags.json)


def _list_teams(file: AccountFile, flags: Any, _now: float) -> None:
    accounts = file.accounts()
    found = [team_json(accounts, name) for name in sorted(accounts.teams)]
    _show(found, [(t["name"], *t["members"]) for t in found], as_json=flags.json)


def _add_key(file: AccountFile, flags: Any, now: float) -> None:
    key = _given_key(flags) or new_key()
    file.change(lambda accounts: accounts.with_key(flags.name, key, now=now))
    _tell_key(flags.name, key, is_given=_is_given(flags))


def _list_keys(file: AccountFile, flags: Any, _now: float) -> None:
    accounts = file.accounts()
    accounts.user(flags.name)
    found = user_json(accounts, flags.name)["keys"]
    _show(found, [(key["id"], _day(key["made_at"])) for key in found], as_json=flags.json)


def _changing(change: Callable[[Accounts, Any, float], Accounts]) -> Callable[..., None]:
    def act(file: AccountFile, flags: Any, now: float) -> None:
        file.change(lambda accounts: change(accounts, flags, now))

    return act


_ACTIONS: Mapping[tuple[str, str], Callable[[AccountFile, Any, float], None]] = {
    ("user", "add"): _add_user,
    ("user", "ls"): _list_users,
    ("user", "rm"): _remove_user,
    ("team", "add"): _changing(lambda a, flags, now: a.with_team(flags.name, now=now)),
    ("team", "ls"): _list_teams,
    ("team", "rm"): _changing(lambda a, flags, _: a.without_team(flags.name)),
    ("team", "join"): _changing(lambda a, flags, _: a.with_member(flags.team, flags.user)),
    ("team", "leave"): _changing(lambda a, flags, _: a.without_member(flags.team, flags.user)),
    ("key", "add"): _add_key,
    ("key", "ls"): _list_keys,
    ("key", "rm"): _changing(lambda a, flags, _: a.without_key(flags.name, flags.id)),
}


def _is_given(flags: Any) -> bool:
    return flags.key is not None or flags.key_file is not None


def _given_key(flags: Any) -> str:
    """Empty where one is to be made."""
    path = flags.key_file
    if flags.key is not None:
        key = str(flags.key).strip()
        if not key:
            raise StartError("--key is empty; give a key, or leave it out to have one made")
        return key
    if path is None:
        return ""
    try:
        key = (sys.stdin.read() if path == "-" else Path(path).read_text()).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StartError(f"the key file {path} cannot be read ({reason})") from error
    if not key:
        raise StartError(f"the key file {path} is empty; write the key into it")
    return key


def _tell_key(name: str, key: str, *, is_given: bool) -> None:
    if is_given:
        return
    _note(f"the key of {name}, which is not shown again:")
    print(key, flush=True)  # noqa: T201 # what was asked for


def _show(found: Sequence[Any], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    for document, row in zip(found, rows, strict=True):
        print(json.dumps(document) if as_json else "  ".join(filter(None, row)))  # noqa: T201


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _note(sentence: str) -> None:
    print(f"kelt server: {sentence}", file=sys.stderr, flush=True)  # noqa: T201


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
