"""Users, teams and keys as one value; each change makes a new one. Pure.

Keys are long and random, so a plain SHA-256 of one can be looked up and gives nothing away.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kelt_server.access.callers import Caller
from kelt_server.errors import BadRequestError, NotFoundError, UnreadableAccountsError

FORMAT = 1
#: As wandb's clients want it; what stands before a `-` does not count.
KEY_CHARS_MIN = 40
KEY_CHARS_MAX = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: The server's own addresses begin with these, where an entity's page would be.
_RESERVED = frozenset(
    {"api", "artifacts", "artifactsV2", "files", "graphql", "openapi.json", "sdk",
     "wandb-artifacts", "wandb-files"}
)  # fmt: skip
_KEY_ID_CHARS = 8


@dataclass(frozen=True, slots=True)
class Key:
    """A key, as far as the server knows it."""

    sha256: str
    made_at: float

    @property
    def key_id(self) -> str:
        """By what people name it."""
        return self.sha256[:_KEY_ID_CHARS]


@dataclass(frozen=True, slots=True)
class User:
    """A user. Without keys, one who cannot come in."""

    made_at: float
    is_admin: bool = False
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Team:
    """A team. It stays when its last member leaves, for its runs do."""

    made_at: float
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accounts:
    """All of them, by name. `is_closed` since there was a user, also when the last one is gone."""

    users: Mapping[str, User] = field(default_factory=dict)
    teams: Mapping[str, Team] = field(default_factory=dict)
    is_closed: bool = False

    def caller(self, key: str) -> Caller | None:
        """Who has a key; None where nobody does."""
        offered = digest(key)
        return self._caller(lambda known: known.sha256 == offered)

    def caller_of_key(self, key_id: str) -> Caller | None:
        """Who has the key of an id; None where nobody does any more."""
        return self._caller(lambda known: known.key_id == key_id)

    def _caller(self, is_meant: Callable[[Key], bool]) -> Caller | None:
        for name, user in self.users.items():
            for key in filter(is_meant, user.keys):
                return Caller(
                    entity=name,
                    user=name,
                    teams=self.teams_of(name),
                    sees_all=user.is_admin,
                    is_admin=user.is_admin,
                    key_id=key.key_id,
                )
        return None

    def teams_of(self, user: str) -> tuple[str, ...]:
        """The teams of which somebody is a member, sorted."""
        return tuple(sorted(name for name, team in self.teams.items() if user in team.members))

    def with_user(self, name: str, *, is_admin: bool, now: float) -> Accounts:
        """Another user, without a key."""
        self._check_free(name)
        users = {**self.users, name: User(now, is_admin)}
        return replace(self, users=users, is_closed=True)

    def without_user(self, name: str) -> Accounts:
        """Without a user; the user's runs stay, and are an admin's to read."""
        self._user(name)
        users = {known: user for known, user in self.users.items() if known != name}
        teams = {
            team: replace(said, members=tuple(m for m in said.members if m != name))
            for team, said in self.teams.items()
        }
        return replace(self, users=users, teams=teams)

    def with_key(self, name: str, key: str, *, now: float) -> Accounts:
        """A user with another key.

        Raises:
            BadRequestError: the key is too short, or it is somebody's.
        """
        user = self._user(name)
        secret = key.partition("-")[2] or key
        if len(secret) < KEY_CHARS_MIN or len(key) > KEY_CHARS_MAX or not key.isascii():
            raise BadRequestError(
                f"a key has {KEY_CHARS_MIN} to {KEY_CHARS_MAX} ASCII characters; leave it out, and "
                "one is made"
            )
        if any(char.isspace() or not char.isprintable() for char in key):
            raise BadRequestError("a key has no blanks in it")
        if self.caller(key) is not None:
            raise BadRequestError("this key is in use already; choose another, or have one made")
        return self._with(name, replace(user, keys=(*user.keys, Key(digest(key), now))))

    def without_key(self, name: str, key_id: str) -> Accounts:
        """A user without a key of theirs."""
        user = self._user(name)
        kept = tuple(key for key in user.keys if key.key_id != key_id)
        if len(kept) == len(user.keys):
            raise NotFoundError(f"{name} has no key {key_id!r}; `kelt server key ls {name}` lists")
        return self._with(name, replace(user, keys=kept))

    def with_team(self, name: str, *, now: float) -> Accounts:
        """Another team, without members."""
        self._check_free(name)
        return replace(self, teams={**self.teams, name: Team(now)})

    def without_team(self, name: str) -> Accounts:
        """Without a team; its runs stay, and are an admin's to read."""
        self._team(name)
        return replace(self, teams={n: team for n, team in self.teams.items() if n != name})

    def with_member(self, team: str, user: str) -> Accounts:
        """A user joins a team, once."""
        self._user(user)
        said = self._team(team)
        members = tuple(sorted({*said.members, user}))
        return replace(self, teams={**self.teams, team: replace(said, members=members)})

    def without_member(self, team: str, user: str) -> Accounts:
        """A user leaves a team."""
        said = self._team(team)
        if user not in said.members:
            raise NotFoundError(f"{user} is no member of {team}")
        members = tuple(member for member in said.members if member != user)
        return replace(self, teams={**self.teams, team: replace(said, members=members)})

    def user(self, name: str) -> User:
        """A user by name.

        Raises:
            NotFoundError: there is none.
        """
        return self._user(name)

    def _with(self, name: str, user: User) -> Accounts:
        return replace(self, users={**self.users, name: user})

    def _user(self, name: str) -> User:
        if name not in self.users:
            raise NotFoundError(f"there is no user {name!r}; `kelt server user ls` lists them")
        return self.users[name]

    def _team(self, name: str) -> Team:
        if name not in self.teams:
            raise NotFoundError(f"there is no team {name!r}; `kelt server team ls` lists them")
        return self.teams[name]

    def _check_free(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise BadRequestError(
                f"{name!r} cannot be a name: 1 to 64 letters, digits, `_`, `-` and `.`, beginning "
                "with a letter or a digit, and none of the server's own addresses"
            )
        if name in self.users or name in self.teams:
            kind = "user" if name in self.users else "team"
            raise BadRequestError(f"there is a {kind} {name} already; choose another name")


def digest(key: str) -> str:
    """By what a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def write_accounts(accounts: Accounts) -> str:
    """All of it as JSON."""
    users = {
        name: {
            "is_admin": user.is_admin,
            "made_at": user.made_at,
            "keys": [
                {"id": key.key_id, "sha256": key.sha256, "made_at": key.made_at}
                for key in user.keys
            ],
        }
        for name, user in accounts.users.items()
    }
    teams = {
        name: {"made_at": team.made_at, "members": list(team.members)}
        for name, team in accounts.teams.items()
    }
    said = {"format": FORMAT, "is_closed": accounts.is_closed, "users": users, "teams": teams}
    return json.dumps(said, indent=1)


def read_accounts(text: str) -> Accounts:
    """What `write_accounts` wrote.

    Raises:
        UnreadableAccountsError: it is something else.
    """
    try:
        said = json.loads(text)
        if said["format"] != FORMAT:
            raise UnreadableAccountsError(f"its format {said['format']!r} is a newer kelt's")
        users = {
            str(name): User(
                float(user["made_at"]),
                user["is_admin"] is True,
                tuple(Key(str(key["sha256"]), float(key["made_at"])) for key in user["keys"]),
            )
            for name, user in said["users"].items()
        }
        teams = {
            str(name): Team(float(team["made_at"]), tuple(map(str, team["members"])))
            for name, team in said["teams"].items()
        }
        is_closed = said["is_closed"] is not False
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableAccountsError("it is not what a kelt server wrote") from error
    return Accounts(users, teams, is_closed)


def user_json(accounts: Accounts, name: str) -> dict[str, Any]:
    """USER of the admin API: no key, and nothing that leads to one."""
    user = accounts.users[name]
    return {
        "name": name,
        "is_admin": user.is_admin,
        "made_at": user.made_at,
        "teams": list(accounts.teams_of(name)),
        "keys": [{"id": key.key_id, "made_at": key.made_at} for key in user.keys],
    }


def team_json(accounts: Accounts, name: str) -> dict[str, Any]:
    """TEAM of the admin API."""
    team = accounts.teams[name]
    return {"name": name, "made_at": team.made_at, "members": list(team.members)}
