from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from kelt_server.access.account_file import AccountFile, new_key
from kelt_server.access.gate import Gate
from kelt_server.errors import KeyRefusedError, UnreadableAccountsError

KEY = "k" * 40


def gate_on(file: AccountFile, api_key: str = "") -> Gate:
    return Gate(api_key=api_key, accounts=file.accounts, default_entity="local")


def add(file: AccountFile, name: str, key: str = KEY) -> None:
    file.change(lambda a: a.with_user(name, is_admin=False, now=1.0).with_key(name, key, now=1.0))


def test_without_a_file_everybody_comes_in(tmp_path: Path) -> None:
    gate = gate_on(AccountFile(tmp_path))
    for authorization in ("", f"Bearer {KEY}", "nonsense"):
        caller = gate.admit(authorization)
        assert (caller.entity, caller.sees_all, caller.is_admin) == ("local", True, False)
    assert not gate.wants_key()


def test_what_another_process_changes_holds_at_once(tmp_path: Path) -> None:
    file, elsewhere = AccountFile(tmp_path), AccountFile(tmp_path)
    gate = gate_on(file)
    gate.admit("")
    add(elsewhere, "ann")
    assert gate.wants_key()
    assert gate.admit(f"Bearer {KEY}").user == "ann"
    for authorization in ("", "Bearer x", "Basic !", "Digest " + KEY):
        with pytest.raises(KeyRefusedError):
            gate.admit(authorization)
    elsewhere.change(lambda accounts: accounts.without_user("ann"))
    with pytest.raises(KeyRefusedError):
        gate.admit(f"Bearer {KEY}")


def test_the_server_s_own_key_is_an_admin_s(tmp_path: Path) -> None:
    file = AccountFile(tmp_path)
    gate = gate_on(file, api_key="own")
    add(file, "ann")
    caller = gate.admit("Basic YW55Om93bg==")  # any:own
    assert (caller.entity, caller.is_admin, caller.sees_all) == ("local", True, True)
    assert gate.admit(f"bearer {KEY}").user == "ann"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"format": 9}'])
def test_a_damaged_file_lets_nobody_in_and_stays(tmp_path: Path, content: bytes) -> None:
    file = AccountFile(tmp_path)
    file.path.write_bytes(content)
    gate = gate_on(file, api_key="own")
    assert gate.wants_key()
    assert gate.admit("Bearer own").is_admin
    with pytest.raises(UnreadableAccountsError, match="nobody is let in"):
        gate.admit(f"Bearer {KEY}")
    with pytest.raises(UnreadableAccountsError):
        add(file, "ann")
    assert file.path.read_bytes() == content
    file.path.unlink()
    add(file, "ann")
    assert gate.admit(f"Bearer {KEY}").user == "ann"


def test_the_file_is_the_owner_s_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        add(AccountFile(tmp_path), "ann")
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accounts.json", "accounts.lock"]


def test_changes_at_a_time_are_all_kept(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=add, args=(AccountFile(tmp_path), f"u{n}", new_key()))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(AccountFile(tmp_path).accounts().users) == [f"u{n}" for n in range(8)]
