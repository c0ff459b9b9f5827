"""Records and runs that a real server is made to refuse: none holds up the others, none is gone."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import grpc
import pytest

from harness.fault_front import Status
from harness.memory_upstream import LOSS, ROW, take_apart
from harness.network import Network
from harness.stack import eventually
from kelt_proto.v1.upstream_pb2 import PushRequest

#: Of the run's own writer: 1 opened the run, and each row after it has one number.
REFUSED = (41, 42, 350)
LOGGED = """
    import sys, time, kelt
    run = kelt.init("p", id=sys.argv[1])
    for i in range(int(sys.argv[2])):
        run.log({"i": i})
    run.finish()
    print(run.dir)
"""
PLAIN = Status(grpc.StatusCode.INVALID_ARGUMENT, "not that one")

pytestmark = pytest.mark.covers(phase="batch_build", fault="error reply")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("refusals")) as network:
        yield network


@pytest.fixture(autouse=True)
def healed(network):
    yield
    network.heal()


def start(network, run_id, rows=600):
    return network.host.start(LOGGED, run_id, rows, KELT_FINISH_TIMEOUT_S="0.5")


def end(process) -> str:
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return out.strip()


def log(network, run_id, rows=600) -> str:
    return end(start(network, run_id, rows))


def frames_of(request: bytes):
    """(writer, kind, seq) of each record of a push."""
    for batch in PushRequest.FromString(request).batches:
        for kind, seq, _ in take_apart(batch.frames):
            yield batch.writer_id, kind, seq


def run_of(network, name):
    return network.reader.run(name)


def status_of(network, name):
    out, _ = network.host.kelt("status", "--json")
    return next(run for run in json.loads(out)["runs"] if run["run_id"] == name)


def refuse(network, condition, status=PLAIN):
    def before(method, request):
        if method == "Push" and condition(request):
            raise status

    network.front.before = before


def rows_and_seqs(request):
    return [(kind, seq) for _, kind, seq in frames_of(request)]


def test_the_records_that_are_refused_are_set_aside_and_the_rest_arrives(network):
    refuse(network, lambda r: any(k == ROW and s in REFUSED for k, s in rows_and_seqs(r)))
    folder = log(network, "poison")
    run = eventually(lambda: (r := run_of(network, "poison"))["state"] == "finished" and r or None)
    kept = [i for i in range(600) if i + 2 not in REFUSED]
    assert network.reader.history("poison") == [{"step": i, "i": i} for i in kept]
    losses = {(loss["first_seq"], loss["last_seq"]) for loss in run["losses"]}
    assert losses == {(seq, seq) for seq in REFUSED}
    assert all("refused by the server: not that one" in x["reason"] for x in run["losses"])
    assert run["lost_rows"] == len(REFUSED)
    letters = read_letters(folder)
    assert [letter["first_seq"] for letter in letters] == list(REFUSED)
    for letter in letters:  # the record itself, with the schemas that it needs
        held = take_apart(base64.b64decode(letter["frames"]))
        assert [(kind, seq) for kind, seq, _ in held if seq] == [(ROW, letter["first_seq"])]
        assert any(seq == 0 for _, seq, _ in held)
    assert "refused-records.jsonl" in status_of(network, "poison")["problem"]


def read_letters(folder):
    with (Path(folder) / "refused-records.jsonl").open() as file:
        return [json.loads(line) for line in file if line.strip()]


def test_markers_are_remembered_where_the_daemon_dies_before_they_are_committed(network):
    seen = []

    def before(method, request):
        if method != "Push":
            return
        found = rows_and_seqs(request)
        if (ROW, 100) in found:
            seen.append("refused")
            raise PLAIN
        if (LOSS, 100) in found and "dead" not in seen:
            seen.append("marker")
            raise Status(grpc.StatusCode.UNAVAILABLE, "gone")

    network.front.before = before
    process = start(network, "remembered", 200)
    eventually(lambda: "marker" in seen or None)
    network.restart_daemon(kills=True)
    refusals = seen.count("refused")
    seen.append("dead")
    folder = end(process)
    eventually(lambda: run_of(network, "remembered")["rows"] == 199 or None)
    assert seen.count("refused") == refusals
    assert [letter["first_seq"] for letter in read_letters(folder)] == [100]


def test_a_push_that_is_too_large_is_sent_in_smaller_ones(network):
    too_large = Status(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (1 vs. 2)"
    )
    refuse(network, lambda request: len(request) > 3000, too_large)
    folder = log(network, "large")
    eventually(lambda: run_of(network, "large")["state"] == "finished" or None)
    assert network.reader.history("large") == [{"step": i, "i": i} for i in range(600)]
    assert run_of(network, "large")["losses"] == []
    with pytest.raises(FileNotFoundError):
        read_letters(folder)


def test_where_everything_is_refused_the_run_is_parked_and_loses_nothing(network):
    mine = set()

    def is_of_parked(request):
        found = list(frames_of(request))
        mine.update(w for w, kind, seq in found if kind == ROW and b"parked" in request)
        return b"parked" in request or any(w in mine for w, _, _ in found)

    refuse(network, is_of_parked)
    log(network, "parked", 100)
    seen = eventually(lambda: (r := status_of(network, "parked"))["problem"] and r or None)
    assert "record after record" in seen["problem"]
    log(network, "neighbour", 100)  # the others go on
    eventually(lambda: run_of(network, "neighbour")["state"] == "finished" or None)
    network.heal()
    network.host.kelt("sync")
    eventually(lambda: run_of(network, "parked")["state"] == "finished" or None)
    assert network.reader.history("parked") == [{"step": i, "i": i} for i in range(100)]
    assert run_of(network, "parked")["losses"] == []


def test_a_run_that_was_deleted_on_the_server_is_parked_alone(network):
    gone = Status(grpc.StatusCode.NOT_FOUND, "run deleted")
    refuse(network, lambda request: b"deleted" in request, gone)
    log(network, "deleted", 50)
    seen = eventually(lambda: (r := status_of(network, "deleted"))["problem"] and r or None)
    assert "run deleted" in seen["problem"]
    log(network, "neighbour-2", 50)
    eventually(lambda: run_of(network, "neighbour-2")["state"] == "finished" or None)
    network.heal()
    network.host.kelt("sync")
    eventually(lambda: run_of(network, "deleted")["state"] == "finished" or None)


def test_a_refused_key_pauses_all_and_another_key_goes_on(network):
    wrong = Status(grpc.StatusCode.UNAUTHENTICATED, "this key was revoked")
    refuse(network, lambda _: True, wrong)
    log(network, "paused", 50)
    upstream = eventually(
        lambda: next((u for u in json.loads(network.host.kelt("status", "--json")[0])["upstreams"] if u["state"] == "refused"), None)
    )  # fmt: skip
    assert "KELT_API_KEY" in upstream["reason"]
    pushes = network.front.calls["Push"]
    network.heal()
    assert network.front.calls["Push"] == pushes  # nobody tries meanwhile
    network.host.run("import kelt; kelt.init('p', id='with-key').finish()", KELT_API_KEY="k-new")
    eventually(lambda: run_of(network, "paused")["state"] == "finished" or None)
    assert network.reader.history("paused") == [{"step": i, "i": i} for i in range(50)]
