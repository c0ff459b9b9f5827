"""One thread serves all runs of a process, and one connection to a daemon."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import kelt
from harness.online_runs import daemon_pid, is_durable, journaled, wait_until
from kelt.background import Attention, BackgroundThread
from kelt.errors import DaemonUnavailableError
from kelt.shared_clients import USERS_MAX, SharedClients


class Rounds:
    """Takes so many turns and remembers who came for them."""

    def __init__(self, turns: int, wait_s: float = 0.0) -> None:
        self.left, self.wait_s = turns, wait_s
        self.threads: list[int] = []

    def turn(self) -> float | None:
        self.threads.append(threading.get_ident())
        self.left -= 1
        return self.wait_s if self.left > 0 else None


def serve(background: BackgroundThread, rounds: Rounds) -> Attention:
    attention = background.attention()
    background.add(rounds, attention)
    return attention


def test_many_runs_take_turns_in_one_thread_which_ends_with_the_last_of_them() -> None:
    background = BackgroundThread()
    runs = [Rounds(turns) for turns in (1, 5, 20, 20)]
    for rounds in runs:
        serve(background, rounds)
    wait_until(lambda: not background._is_running)
    assert [len(rounds.threads) for rounds in runs] == [1, 5, 20, 20]
    again = Rounds(3)
    serve(background, again)
    wait_until(lambda: len(again.threads) == 3)


def test_a_run_that_asks_has_its_round_at_once_and_the_others_theirs_when_they_are_due() -> None:
    background = BackgroundThread()
    patient, asking = Rounds(2, wait_s=3600.0), Rounds(4, wait_s=3600.0)
    first = serve(background, patient)
    attention = serve(background, asking)
    for turns in (1, 2, 3):
        wait_until(lambda turns=turns: len(asking.threads) == turns)
        attention.set()
        attention.set()  # asking twice is asking once
    wait_until(lambda: len(asking.threads) == 4)
    assert len(patient.threads) == 1
    first.set()
    wait_until(lambda: not background._is_running)
    assert len(patient.threads) == 2


def test_runs_that_are_due_close_upon_each_other_wake_the_thread_once() -> None:
    background = BackgroundThread()
    waits = []
    wait_until_due = background._wait_until
    background._wait_until = lambda at: (waits.append(at), wait_until_due(at))[1]
    for _ in range(50):
        serve(background, Rounds(10, wait_s=0.02))
    wait_until(lambda: not background._is_running)
    assert len(waits) < 200  # of 500 rounds


def test_a_connection_is_shared_until_it_breaks_and_closed_by_its_last_user() -> None:
    clients, socket = SharedClients(), Path("/nowhere/daemon.sock")
    first, second = clients.take(socket), clients.take(socket)
    assert first is second
    clients.give_back(second, is_broken=True)
    third = clients.take(socket)
    assert third is not first
    with pytest.raises(DaemonUnavailableError, match=r"(?i)connect"):
        first.hello(upstream="", api_key=None, timeout_s=5)
    clients.give_back(first, is_broken=False)
    with pytest.raises(DaemonUnavailableError, match="closed"):
        first.hello(upstream="", api_key=None, timeout_s=5)
    assert clients.take(socket) is third
    clients.give_back(third, is_broken=False)
    clients.give_back(third, is_broken=False)
    assert clients.take(socket) is not third


def test_a_connection_has_no_more_users_than_a_daemon_takes_calls() -> None:
    clients, socket = SharedClients(), Path("/nowhere/daemon.sock")
    taken = [clients.take(socket) for _ in range(2 * USERS_MAX + 1)]
    assert [taken.count(client) for client in dict.fromkeys(taken)] == [USERS_MAX, USERS_MAX, 1]
    for client in taken:
        clients.give_back(client, is_broken=False)


def test_a_round_that_fails_is_tried_again_and_stops_no_other() -> None:
    class Failing(Rounds):
        def turn(self) -> float | None:
            wait_s = super().turn()
            if self.left == 1:
                raise AttributeError("a console of somebody else's")
            return wait_s

    background = BackgroundThread()
    failing, other = Failing(3), Rounds(5)
    serve(background, failing)
    serve(background, other)
    wait_until(lambda: not background._is_running)
    assert (len(failing.threads), len(other.threads)) == (3, 5)


def test_a_run_that_logs_without_end_leaves_the_others_their_rounds(online, monkeypatch) -> None:
    cut: list[int] = []
    monkeypatch.setattr("kelt.sender.CUT_BYTES_MAX", 100_000)
    busy, other = (kelt.init("p", reinit="create_new") for _ in range(2))
    turn = busy._session.sender.turn
    busy._session.sender.turn = lambda: (turn(), cut.append(busy._session.sender._round_bytes))[0]
    for i in range(40_000):
        busy.log({"i": i, **{f"m{k}": 0.5 for k in range(20)}})
    other.log({"i": 0})
    wait_until(lambda: is_durable(busy) and is_durable(other))
    assert journaled(busy) == list(range(1, 40_002))
    assert max(cut) < 100_000 + 256 * 1024 + 4096
    for run in (busy, other):
        run.finish()


def test_the_runs_of_a_process_have_one_thread_and_one_connection_and_outlive_their_daemon(
    online,
) -> None:
    runs = [kelt.init("p", reinit="create_new") for _ in range(6)]
    for run in runs:
        run.log({"i": 0})
    wait_until(lambda: all(map(is_durable, runs)))
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("kelt-sender") == 1
    opened = [run._session.sender._link._open for run in runs]
    assert len({id(each.client) for each in opened}) == 1
    os.kill(killed := daemon_pid(online), signal.SIGKILL)
    for i in range(1, 200):
        for run in runs:
            run.log({"i": i})
        time.sleep(0.001)
    wait_until(lambda: all(map(is_durable, runs)))
    assert daemon_pid(online) != killed
    for run in runs:
        assert journaled(run) == list(range(1, 202))
        run.finish()


def test_no_round_waits_while_the_daemon_is_being_reached(online, monkeypatch) -> None:
    reached = threading.Event()

    def slow(settings):
        reached.wait(30)
        return ensure(settings)

    from kelt import reaching

    ensure = reaching.ensure_daemon
    monkeypatch.setattr(reaching, "ensure_daemon", slow)
    runs = [kelt.init("p", reinit="create_new") for _ in range(3)]
    for run in runs:
        run.log({"i": 0})
    # Sealed by rounds, though no daemon is there yet.
    wait_until(
        lambda: all(r._session.sender._sealer.sealed_seq == r._session.spool.seq for r in runs)
    )
    assert not any(run._session.sender.state.is_connected for run in runs)
    reached.set()
    wait_until(lambda: all(map(is_durable, runs)))
    for run in runs:
        run.finish()
