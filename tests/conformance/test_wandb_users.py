"""Users, their teams and their keys, as the real client meets them."""

from __future__ import annotations

import json
import os

import pytest
from conformance.conftest import Client, Kelt

from kelt_server.access.account_file import AccountFile, new_key
from kelt_server.access.accounts import Accounts

KEY_OF_ANN = new_key()

SCRIPT = """
api = wandb.Api()
found = {"user": api.viewer.username, "teams": api.viewer.teams, "entity": api.default_entity}
with wandb.init(id="own") as run:
    run.log({"x": 1})
    found["own"] = run.entity
with wandb.init(id="team", entity="crew") as run:
    run.log({"x": 2})
own = api.run("ann/p/own").file("wandb-summary.json").download(os.environ["HOME"], replace=True)
found["file"] = json.load(own)["x"]
found["runs"] = [r.path for r in api.runs("p")] + [r.path for r in api.runs("crew/p")]
for name, act in {
    "read": lambda: api.run("bob/p/run").state,
    "list": lambda: len(api.runs("bob/p")),
    "write": lambda: wandb.init(id="not", entity="bob"),
}.items():
    try:
        act()
    except Exception as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture
def ann(kelt: Kelt) -> str:
    """A key of ann, who is of the team crew; bob is another user."""

    def add(accounts: Accounts) -> Accounts:
        for name, key in (("ann", KEY_OF_ANN), ("bob", "b" * 40)):
            accounts = accounts.with_user(name, is_admin=False, now=1.0)
            accounts = accounts.with_key(name, key, now=1.0)
        return accounts.with_team("crew", now=1.0).with_member("crew", "ann")

    AccountFile(kelt.folder / "data").change(add)  # beside the server, as `kelt server user` does
    return KEY_OF_ANN


def test_a_user_logs_and_reads_where_the_key_opens(client: Client, kelt: Kelt, ann: str) -> None:
    out = client.run(SCRIPT, WANDB_API_KEY=ann)
    found = json.loads(next(text for text in out.splitlines() if text.startswith("{")))
    assert (found["user"], found["entity"], found["own"]) == ("ann", "ann", "ann")
    assert found["teams"] == ["ann", "crew"]
    assert found["file"] == 1  # fetched with the key
    assert found["runs"] == [["ann", "p", "own"], ["crew", "p", "team"]]
    for how in ("read", "list", "write"):
        assert "does not open the entity 'bob'" in found[how]


@pytest.mark.skipif(
    not os.environ.get("KELT_TEST_LONG"), reason="the server's part is tested without a client"
)
def test_a_key_that_is_not_known_is_refused(client: Client, ann: str) -> None:
    process = client.start("wandb.init(id='x', settings=wandb.Settings(init_timeout=30))")
    _, err = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "wants a key and was given another key" in err
