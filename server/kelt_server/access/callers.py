"""What somebody who calls may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kelt_server.errors import ForbiddenError
from kelt_server.facts import BURIED_ENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody whose key was accepted, or anybody where none is wanted.

    Attributes:
        entity: that is meant where none is named.
        user: the name; empty where there are no users, and for the server's own key.
        teams: of which the user is a member.
        sees_all: whether every entity may be read and written.
        is_admin: whether users, teams and keys may be changed.
        key_id: by what people name the key; empty where none is wanted.
    """

    entity: str
    user: str = ""
    teams: tuple[str, ...] = ()
    sees_all: bool = False
    is_admin: bool = False
    key_id: str = ""

    def entity_of(self, named: str) -> str:
        """The entity that is meant."""
        return self.entity if named in ("", "-") else named

    def may(self, entity: str) -> bool:
        """Whether what belongs to the entity may be read and written."""
        if entity == BURIED_ENTITY:
            return False
        return self.sees_all or entity == self.entity or entity in self.teams

    def check(self, entity: str) -> str:
        """The entity that is meant, if it is open to the caller.

        Raises:
            ForbiddenError: it is not.
        """
        meant = self.entity_of(entity)
        if not self.may(meant):
            opened = ", ".join((self.entity, *self.teams))
            raise ForbiddenError(
                f"the key of {self.user} does not open the entity {meant!r}: it opens {opened}; "
                f"`kelt server team join TEAM {self.user}` on the server's machine opens a team's"
            )
        return meant

    def check_admin(self) -> None:
        """Whether the caller may change users, teams and keys.

        Raises:
            ForbiddenError: only an admin may.
        """
        if not self.is_admin:
            who = f"{self.user} is no admin" if self.user else "there is no admin yet"
            raise ForbiddenError(
                f"{who}; on the server's machine `kelt server user add NAME --admin` makes one"
            )


#: To whom nothing is open.
NOBODY = Caller(entity="")


def anybody(entity: str) -> Caller:
    """Who calls where no key is wanted: everything is open but who may come in."""
    return Caller(entity=entity, sees_all=True)


def owner(entity: str, key_id: str) -> Caller:
    """Who has the server's own key."""
    return Caller(entity=entity, sees_all=True, is_admin=True, key_id=key_id)
