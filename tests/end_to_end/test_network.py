"""The network between daemon and server does all it can do wrong; training notices nothing.

Real processes at both ends. The oracle is the trainer's own count of rows.
"""

from __future__ import annotations

import json
import threading
import time

import grpc
import pytest

from harness.fault_front import Status
from harness.network import FAULT_CELLS, PHASE_CELLS, TOXICS, Network, Trainer
from harness.stack import eventually

HELD_S = 0.4


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("network")) as network:
        yield network


@pytest.fixture(scope="module")
def trainer(network) -> Trainer:
    """One run through all of what follows, judged at the end."""
    trainer = network.train("through-it-all", KELT_API_KEY="told-to-kelt-alone").await_ready()
    yield trainer
    count = trainer.finish()
    assert count > 50
    trainer.check_all_arrived(count)
    assert "Traceback" not in trainer.errors
    # Many losses within a minute are told once.
    assert trainer.errors.count("training goes on") <= 1 + trainer_minutes(network)


def trainer_minutes(network) -> int:
    log = network.daemon.events("batch_committed")
    return len({event["timestamp"][:16] for event in log})


CASES = [
    ("connect", "refuse"),
    ("connect", "reset"),
    ("connect", "blackhole"),
    ("discovery question", "refuse"),
    ("discovery question", "blackhole"),
    ("discovery answer", "cut"),
    ("hello request", "reset"),
    ("hello reply", "swallow"),
    ("cursors request", "half_close"),
    ("cursors reply", "cut"),
    ("push request", "cut"),
    ("push request", "throttle"),
    ("push request", "latency"),
    ("push reply", "swallow"),
    ("push reply", "reset"),
    ("push reply", "blackhole"),
    ("heartbeat request", "blackhole"),
    ("heartbeat reply", "cut"),
]


@pytest.mark.parametrize(("phase", "toxic"), CASES)
def test_after_a_fault_everything_goes_on_where_it_was(
    network, trainer, record_faults, phase, toxic
):
    record_faults(1, phase=PHASE_CELLS[phase], fault=FAULT_CELLS[toxic])
    network.strike(phase, **TOXICS[toxic])
    time.sleep(HELD_S)
    network.heal()
    trainer.keeps_arriving()


@pytest.mark.covers(phase="upstream_send", fault="reset")
def test_a_connection_that_flaps(network, trainer):
    network.flap(1.5, 0.1)
    trainer.keeps_arriving()


def push_answers(network, *, error: Status, times: int) -> threading.Event:
    """The next pushes are answered so; returns what is set when all were."""
    left, done = [times], threading.Event()

    def before(method, _):
        if method == "Push":
            if left[0] == 0:
                done.set()
                return
            left[0] -= 1
            raise error

    network.front.before = before
    return done


@pytest.mark.covers(phase="upstream_send", fault="error reply")
@pytest.mark.parametrize(
    "error",
    [
        Status(grpc.StatusCode.UNAVAILABLE),
        Status(grpc.StatusCode.INTERNAL),
        Status(grpc.StatusCode.UNKNOWN, "Received http2 header with status: 502"),
        Status(grpc.StatusCode.ABORTED),
        Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", (("retry-after", "0.3"),)),
        Status(grpc.StatusCode.UNAVAILABLE, "busy", (("grpc-retry-pushback-ms", "300"),)),
    ],
    ids=lambda error: f"{error.code.name}-{'asked' if error.trailers else 'plain'}",
)
def test_answers_that_are_errors(network, trainer, error):
    began_s = time.monotonic()
    done = push_answers(network, error=error, times=3)
    assert done.wait(60)
    if error.trailers:
        assert time.monotonic() - began_s >= 3 * 0.3
    network.heal()
    trainer.keeps_arriving()


@pytest.mark.covers(phase="committed_ack_lost", fault="error reply")
def test_answers_that_are_lost_after_the_commit(network, trainer):
    left = [4]

    def after(method, *_):
        if method == "Push" and left[0]:
            left[0] -= 1
            raise Status(grpc.StatusCode.UNAVAILABLE, "lost")

    network.front.after = after
    eventually(lambda: not left[0] or None)
    network.heal()
    trainer.keeps_arriving()


@pytest.mark.covers(phase="upstream_send", fault="slow ack")
def test_pushes_that_arrive_twice_and_answers_that_come_in_another_order(network, trainer):
    held = iter([0.3, 0.0, 0.2] * 100)
    network.front.before = lambda method, _: 2 if method == "Push" else 1
    network.front.after = lambda method, *_: next(held) if method == "Push" else None
    calls = network.front.calls["Push"]
    eventually(lambda: network.front.calls["Push"] > calls + 6 or None)
    network.heal()
    trainer.keeps_arriving()


BIG = """
    import kelt
    run = kelt.init("p", id="big")
    for i in range(1200):
        run.log({"text": f"{i:04}" * 256})
    run.finish()
"""


@pytest.mark.covers(phase="upstream_send", fault="slow ack")
def test_a_way_that_is_too_slow_for_a_whole_push(tmp_path):
    """A push of all of it would take three seconds, and each has one and a half."""
    with Network(tmp_path) as network:
        network.grpc.set(refuse=True)
        network.host.run(BIG, KELT_FINISH_TIMEOUT_S="0.2")
        network.grpc.set(bytes_per_s=400_000.0)
        eventually(lambda: network.reader.run("big")["state"] == "finished" or None)
        rows = network.reader.history("big")
        assert rows == [{"step": i, "text": f"{i:04}" * 256} for i in range(1200)]


HTML = b"<!doctype html><title>Welcome to our hotel</title>"


@pytest.mark.covers(phase="upstream_send", fault="error reply")
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((429, {"retry-after": "0.5"}, b""), "HTTP status 429"),
        ((502, {}, HTML), "HTTP status 502"),
        ((503, {"retry-after": "0.5"}, b""), "HTTP status 503"),
        ((200, {"content-type": "text/html"}, HTML), "not a kelt server"),
        ((302, {"location": "http://localhost:1/login?x=1"}, b""), "points to http://localhost:1"),
        ((200, {"content-type": "application/json"}, b'{"grpc_port": 70000}'), "not a kelt"),
        ((200, {"content-type": "application/json"}, b"[" * 10**6), "not a kelt server"),
    ],
    ids=["429", "502", "503", "captive portal", "redirect", "no port", "a megabyte of brackets"],
)
def test_something_else_answers_for_the_server(network, trainer, answer, sentence):
    headers = []
    network.info.answer = answer
    network.info.on_question = headers.append
    network.grpc.set(reset=True)
    eventually(lambda: headers or None)
    seen = eventually(
        lambda: [u for u in status(network)["upstreams"] if sentence in u["reason"]] or None
    )
    assert seen[0]["state"] == "unreachable", status(network)["upstreams"]
    assert "authorization" not in {name.lower() for name in headers[0]}
    network.heal()
    trainer.keeps_arriving()


def status(network):
    out, _ = network.host.kelt("status", "--json")
    return json.loads(out)


def test_one_warning_at_loss_and_one_line_with_the_backlog_on_recovery(tmp_path, network):
    """Down from the start, with a daemon and a trainer of its own."""
    with Network(tmp_path) as fresh:
        fresh.grpc.set(blackhole=True)
        trainer = fresh.train("from-the-start").await_ready()
        eventually(lambda: fresh.daemon.events("upstream_unreachable") or None)
        eventually(lambda: status(fresh)["runs"][0]["durable_records"] > 60)
        fresh.heal()
        trainer.keeps_arriving()
        # A second loss soon after the first is not told again.
        fresh.strike("push reply", reset=True)
        time.sleep(HELD_S)
        fresh.heal()
        trainer.keeps_arriving()
        count = trainer.finish()
        trainer.check_all_arrived(count)
        assert len(fresh.daemon.events("upstream_unreachable")) == 1
        (back,) = fresh.daemon.events("upstream_reachable")
        assert back["backlog_records"] > 50
        lost = [line for line in trainer.errors.splitlines() if "does not answer" in line]
        back = [line for line in trainer.errors.splitlines() if "the upstream is back" in line]
        assert len(lost) == len(back) == 1, trainer.errors
        assert "training goes on" in lost[0]
        assert int(back[0].split("back; ")[1].split()[0]) > 50


def test_silence_is_shown_as_silence_and_taken_back(tmp_path):
    """G9: the network alone never makes a run dead; what the lease shows ends with a beat."""
    with Network(tmp_path, options=["--lease-s", "1.5"]) as network:
        trainer = network.train("silent").await_ready()
        trainer.keeps_arriving()
        network.grpc.set(blackhole=True)
        run = eventually(
            lambda: (r := network.reader.run("silent"))["state"] != "running" and r or None
        )
        assert run["reason"].startswith("silent since"), run
        network.heal()
        eventually(lambda: network.reader.run("silent")["state"] == "running" or None)
        trainer.keeps_arriving()
        count = trainer.finish()
        trainer.check_all_arrived(count)
        assert network.daemon.events("run_state")[-1]["state"] == "finished"
        assert [e["state"] for e in network.daemon.events("run_state")].count("crashed") == 0
