"""The routes that change users, teams and keys. Handlers run in worker threads: the file blocks.

An admin changes everything; a user sees who they are, and makes and removes keys of their own. A
key that was made is in its answer and nowhere else. Where there are no users yet nobody may come in
this way: the first one is added on the server's machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kelt_server.access.account_file import AccountFile, new_key
from kelt_server.access.accounts import Accounts, team_json, user_json
from kelt_server.api.asking import caller_of, said_in
from kelt_server.api.routes import PREFIX
from kelt_server.errors import BadRequestError
from kelt_server.values import to_json


class AdminApi:
    """Changes accounts."""

    def __init__(self, *, accounts: AccountFile, clock: Callable[[], float]) -> None:
        self._accounts = accounts
        self._clock = clock

    def routes(self) -> list[Route]:
        """Every route; each method is one of its own."""
        table: list[tuple[str, str, Callable[[Request], Any]]] = [
            ("GET", "/viewer", self.viewer),
            ("GET", "/users", self.users),
            ("POST", "/users", self.add_user),
            ("DELETE", "/users/{user}", self.remove_user),
            ("POST", "/users/{user}/keys", self.add_key),
            ("DELETE", "/users/{user}/keys/{key_id}", self.remove_key),
            ("GET", "/teams", self.teams),
            ("POST", "/teams", self.add_team),
            ("DELETE", "/teams/{team}", self.remove_team),
            ("PUT", "/teams/{team}/members/{user}", self.join_team),
            ("DELETE", "/teams/{team}/members/{user}", self.leave_team),
        ]
        return [
            Route(PREFIX + path, handler, methods=[method], name=handler.__name__)
            for method, path, handler in table
        ]

    def viewer(self, request: Request) -> Response:
        """Who asks."""
        caller = caller_of(request)
        return _json(
            {
                "user": caller.user or None,
                "entity": caller.entity,
                "teams": list(caller.teams),
                "is_admin": caller.is_admin,
            }
        )

    def users(self, request: Request) -> Response:
        """Every user; to who is no admin, themselves."""
        caller = caller_of(request)
        accounts = self._accounts.accounts()
        names = [n for n in sorted(accounts.users) if caller.is_admin or n == caller.user]
        return _json({"users": [user_json(accounts, name) for name in names]})

    async def add_user(self, request: Request) -> Response:
        """Another user, with a key."""
        said = await said_in(request, ("name", "is_admin", "key"))

        def add() -> Response:
            caller_of(request).check_admin()
            name, now = _text(said, "name"), self._clock()
            key = _text(said, "key", default="") or new_key()

            def change(accounts: Accounts) -> Accounts:
                made = accounts.with_user(name, is_admin=said.get("is_admin") is True, now=now)
                return made.with_key(name, key, now=now)

            made = user_json(self._accounts.change(change), name)
            return _json(made if said.get("key") else {**made, "key": key}, status=201)

        return await run_in_threadpool(add)

    def remove_user(self, request: Request) -> Response:
        """A user goes."""
        caller_of(request).check_admin()
        user = request.path_params["user"]
        self._accounts.change(lambda accounts: accounts.without_user(user))
        return Response(status_code=204)

    async def add_key(self, request: Request) -> Response:
        """Another key of a user."""
        said = await said_in(request, ("key",))

        def add() -> Response:
            user = self._own(request)
            key, now = _text(said, "key", default="") or new_key(), self._clock()
            accounts = self._accounts.change(lambda a: a.with_key(user, key, now=now))
            made = user_json(accounts, user)["keys"][-1]
            return _json(made if said.get("key") else {**made, "key": key}, status=201)

        return await run_in_threadpool(add)

    def remove_key(self, request: Request) -> Response:
        """A key goes."""
        user, key_id = self._own(request), request.path_params["key_id"]
        self._accounts.change(lambda accounts: accounts.without_key(user, key_id))
        return Response(status_code=204)

    @staticmethod
    def _own(request: Request) -> str:
        """The user whose keys are changed: the caller, unless that is an admin."""
        user: str = request.path_params["user"]
        caller = caller_of(request)
        if not caller.user or user != caller.user:
            caller.check_admin()
        return user

    def teams(self, request: Request) -> Response:
        """Every team; to who is no admin, their own."""
        caller = caller_of(request)
        accounts = self._accounts.accounts()
        names = [n for n in sorted(accounts.teams) if caller.is_admin or n in caller.teams]
        return _json({"teams": [team_json(accounts, name) for name in names]})

    async def add_team(self, request: Request) -> Response:
        """Another team."""
        said = await said_in(request, ("name",))

        def add() -> Response:
            caller_of(request).check_admin()
            name, now = _text(said, "name"), self._clock()
            accounts = self._accounts.change(lambda a: a.with_team(name, now=now))
            return _json(team_json(accounts, name), status=201)

        return await run_in_threadpool(add)

    def remove_team(self, request: Request) -> Response:
        """A team goes."""
        caller_of(request).check_admin()
        team = request.path_params["team"]
        self._accounts.change(lambda accounts: accounts.without_team(team))
        return Response(status_code=204)

    def join_team(self, request: Request) -> Response:
        """A user becomes a member."""
        return self._change_members(request, Accounts.with_member)

    def leave_team(self, request: Request) -> Response:
        """A user is a member no longer."""
        return self._change_members(request, Accounts.without_member)

    def _change_members(
        self, request: Request, change: Callable[[Accounts, str, str], Accounts]
    ) -> Response:
        caller_of(request).check_admin()
        team, user = request.path_params["team"], request.path_params["user"]
        accounts = self._accounts.change(lambda accounts: change(accounts, team, user))
        return _json(team_json(accounts, team))


def _text(said: dict[str, Any], name: str, *, default: str | None = None) -> str:
    found = said.get(name, default)
    if not isinstance(found, str):
        raise BadRequestError(f"{name} is wanted, a text")
    return found


def _json(document: Any, *, status: int = 200) -> Response:
    return Response(to_json(document), status_code=status, media_type="application/json")
