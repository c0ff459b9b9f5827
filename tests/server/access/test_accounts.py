from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelt_server.access.accounts import Accounts, read_accounts, user_json, write_accounts
from kelt_server.errors import BadRequestError, NotFoundError, UnreadableAccountsError

KEY = "k" * 40


def crew() -> Accounts:
    accounts = Accounts().with_user("ann", is_admin=False, now=1.0).with_key("ann", KEY, now=2.0)
    accounts = accounts.with_user("root", is_admin=True, now=1.0)
    return accounts.with_team("crew", now=3.0).with_member("crew", "ann")


def test_a_key_names_its_user_and_opens_the_teams() -> None:
    caller = crew().caller(KEY)
    assert caller is not None
    assert (caller.user, caller.entity, caller.teams) == ("ann", "ann", ("crew",))
    assert [caller.may(entity) for entity in ("ann", "crew", "root", "")] == [
        True,
        True,
        False,
        False,
    ]
    assert crew().caller("x" * 40) is None


def test_a_key_is_written_down_as_a_digest_alone() -> None:
    assert KEY not in write_accounts(crew())
    assert "sha256" not in user_json(crew(), "ann")["keys"][0]


@pytest.mark.parametrize(
    "key", ["", "k" * 39, "local-" + "k" * 39, "k" * 300, "k" * 40 + " k", "é" * 40]
)
def test_keys_that_wandb_would_not_take_are_refused(key: str) -> None:
    with pytest.raises(BadRequestError):
        crew().with_key("root", key, now=1.0)


def test_a_key_may_have_a_prefix_and_belongs_to_one_user() -> None:
    accounts = crew().with_key("root", "local-" + "r" * 40, now=1.0)
    with pytest.raises(BadRequestError, match="in use"):
        accounts.with_key("root", KEY, now=1.0)


@pytest.mark.parametrize(
    "name", ["", "-", "ann", "crew", "a/b", "api", "files", "x" * 65, "ä", ".."]
)
def test_names_that_are_taken_or_none_are_refused(name: str) -> None:
    with pytest.raises(BadRequestError):
        crew().with_user(name, is_admin=False, now=1.0)
    with pytest.raises(BadRequestError):
        crew().with_team(name, now=1.0)


def test_who_is_removed_leaves_every_team_and_nothing_open() -> None:
    accounts = crew().without_user("ann")
    assert accounts.teams["crew"].members == ()
    assert accounts.caller(KEY) is None
    assert accounts.without_user("root").is_closed
    assert not Accounts().with_team("crew", now=1.0).is_closed


def test_a_key_is_removed_by_its_id() -> None:
    (key,) = user_json(crew(), "ann")["keys"]
    assert crew().without_key("ann", key["id"]).caller(KEY) is None
    for user, key_id in (("ann", "0"), ("bob", key["id"])):
        with pytest.raises(NotFoundError):
            crew().without_key(user, key_id)


def test_members_join_once_and_leave() -> None:
    accounts = crew().with_member("crew", "ann")
    assert accounts.teams["crew"].members == ("ann",)
    accounts = accounts.without_member("crew", "ann")
    assert accounts.teams_of("ann") == ()
    for change in (accounts.without_member, accounts.with_member):
        with pytest.raises(NotFoundError):
            change("crew", "bob")


NAMES = st.text("abc1_.-", min_size=1, max_size=5).filter(lambda n: n[0] not in "_.-")


@settings(max_examples=30)
@given(st.dictionaries(NAMES, st.booleans()), st.sets(NAMES))
def test_what_is_written_is_read_again(users: dict[str, bool], teams: set[str]) -> None:
    accounts = Accounts()
    for number, (name, is_admin) in enumerate(users.items()):
        accounts = accounts.with_user(name, is_admin=is_admin, now=1.5)
        accounts = accounts.with_key(name, f"{number:040}", now=2.5)
    for team in teams - users.keys():
        accounts = accounts.with_team(team, now=3.5)
        for user in users:
            accounts = accounts.with_member(team, user)
    assert read_accounts(write_accounts(accounts)) == accounts


@settings(max_examples=30)
@given(st.data())
def test_whatever_else_is_in_the_file_opens_nothing(data: st.DataObject) -> None:
    whole = write_accounts(crew())
    cut = data.draw(st.integers(0, len(whole) - 1))
    json_texts = st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)
    for text in (whole[:cut], json.dumps(data.draw(json_texts))):
        with pytest.raises(UnreadableAccountsError):
            read_accounts(text)


def test_a_newer_format_is_named() -> None:
    with pytest.raises(UnreadableAccountsError, match="newer"):
        read_accounts('{"format": 2}')
