"""Children of a trainer: forked, spawned, workers of a data loader. None hangs, doubles, corrupts."""

import os
import signal
import sys
import textwrap

import pytest

from harness.stack import eventually

#: Forks while two other threads hold what a fork can leave locked: the packer's and the spool's
#: locks, and that of the summary. Every child must end in time, however it ends.
STORM = """
    import os, signal, sys, threading, time, kelt
    run = kelt.init("p", id="storm")
    run.define_metric("x", summary="mean")
    while not run._session.sender.state.is_connected:
        time.sleep(0.01)
    stop = threading.Event()
    logged = 0

    def log():
        global logged
        while not stop.is_set():
            run.log({"who": -1, "n": logged, "x": 1.0})
            logged += 1
            time.sleep(0.0002)

    def look():
        while not stop.is_set():
            run.summary.get("x")
            run.config.get("lr")

    threads = [threading.Thread(target=log), threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    ends = ["os._exit(0)", "sys.exit(0)", "sys.exit(3)", "os.kill(os.getpid(), 9)", "pass"]
    for number in range(40):
        pid = os.fork()
        if pid == 0:
            try:
                if number % 2:
                    for n in range(10):
                        run.log({"who": number, "n": n, "x": 2.0})
                    run.summary.get("x")
                exec(ends[number % 5])
            finally:
                os._exit(0) if number % 5 == 4 else None
        end = time.monotonic() + 60
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                print("hung", number, flush=True)
                os.kill(pid, 9)
            time.sleep(0.001)
    stop.set()
    for thread in threads:
        thread.join()
    run.finish()
    print("logged", logged, flush=True)
"""


@pytest.mark.covers(phase="spool_write", fault="fork")
def test_forty_children_forked_under_held_locks_end_and_every_row_arrives_once(
    host, reader, record_faults
):
    out, err = host.run(STORM)
    assert "hung" not in out, err
    count = int(out.split()[-1])
    writers = 1 + 20

    def is_there():
        rows = reader.history("storm")
        assert len(rows) >= count + 20 * 10, len(rows)
        return rows

    rows = eventually(is_there)
    by_writer = {}
    for row in rows:
        by_writer.setdefault(row["who"], []).append(row["n"])
    assert by_writer.pop(-1) == list(range(count))
    assert len(by_writer) == writers - 1
    assert all(numbers == list(range(10)) for numbers in by_writer.values())
    run = eventually(lambda: (r := reader.run("storm"))["state"] == "finished" and r or None)
    assert run["lost_rows"] == 0
    record_faults(40)


WORKERS = """
    import multiprocessing, os, sys, time

    def work(task):
        import kelt
        if kelt.run is not None:  # a forked worker: the parent's run
            kelt.log({"who": os.getpid(), "task": task})
        return task * task

    def own(name):
        import kelt
        run = kelt.init("p", id=name, settings={"finish_timeout_s": 20})
        for n in range(50):
            run.log({"n": n})
        run.finish()
        return kelt.run is None or kelt.run.id

    if __name__ == "__main__":
        import kelt
        method = sys.argv[1]
        context = multiprocessing.get_context(method)
        run = kelt.init("p", id=f"parent-{method}")
        for n in range(100):
            run.log({"who": 0, "n": n})
        with context.Pool(3) as pool:
            assert pool.map(work, range(30)) == [n * n for n in range(30)]
            pool.close()
            pool.join()
        workers = [context.Process(target=own, args=(f"own-{method}-{k}",)) for k in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0, worker.exitcode
        for n in range(100, 200):
            run.log({"who": 0, "n": n})
        run.finish()
        print("done")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_log_to_the_parents_run_or_to_their_own_and_the_parent_stays_well(
    host, reader, tmp_path, method
):
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(WORKERS))
    process = host.start_command([sys.executable, str(script), method])
    out, err = process.communicate(timeout=90)
    assert (process.returncode, out) == (0, "done\n"), err

    def is_there():
        rows = reader.history(f"parent-{method}")
        assert len(rows) >= 200 + (30 if method == "fork" else 0)
        return rows

    rows = eventually(is_there)
    assert [row["n"] for row in rows if row["who"] == 0] == list(range(200))
    tasks = [row["task"] for row in rows if row["who"]]
    assert sorted(tasks) == (list(range(30)) if method == "fork" else [])
    for k in range(2):
        name = f"own-{method}-{k}"
        eventually(lambda name=name: reader.run(name)["state"] == "finished" or None)
        assert [row["n"] for row in reader.history(name)] == list(range(50))
    assert reader.run(f"parent-{method}")["state"] == "finished"


LIVING = """
    import os, signal, sys, time, kelt
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    run = kelt.init("p", id="living")
    run.log({"who": 0})
    while not run._session.sender.state.is_connected:
        time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        for first in (1, 6):
            for n in range(first, first + 5):
                run.log({"who": n})
            signal.sigwait([signal.SIGUSR1])
    print(pid, flush=True)
    sys.stdin.readline()
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    run.finish()
"""


def test_what_a_living_forked_child_logs_is_followed(host, reader):
    process = host.start(LIVING)
    pid = int(process.stdout.readline())

    def is_followed(count):
        assert sorted(row["who"] for row in reader.history("living")) == list(range(count))
        return True

    assert eventually(lambda: is_followed(6))
    os.kill(pid, signal.SIGUSR1)
    assert eventually(lambda: is_followed(11))
    os.kill(pid, 0)
    assert reader.run("living")["state"] == "running"
    process.communicate("\n", timeout=60)
    assert process.returncode == 0
    run = eventually(lambda: (r := reader.run("living"))["state"] == "finished" and r or None)
    assert (run["rows"], run["lost_rows"]) == (11, 0)


#: More than twice what its spool may take, in one go: each row may wait for room.
PAST_ITS_QUOTA = """
    import os, sys, kelt
    settings = {"spool_bytes_max": 1 << 20, "spool_policy": "block(20000)"}
    run = kelt.init("p", id="large", settings=settings)
    run.log({"who": 0})
    pid = os.fork()
    if pid == 0:
        for n in range(9000):
            run.log({"who": 1, "n": n} | {f"m{i}": float(i) for i in range(20)})
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    run.finish()
"""


def test_a_forked_child_that_logs_more_than_its_quota_makes_room_as_the_daemon_takes_its_rows(
    host, server, reader
):
    server.stop()  # it has to go by what is synced here, and by nobody's word from afar
    host.run(PAST_ITS_QUOTA)
    server.start()

    def is_there():
        numbers = [row["n"] for row in reader.history("large") if row["who"] == 1]
        return numbers == list(range(9000)) or None

    assert eventually(is_there)
    assert reader.run("large")["lost_rows"] == 0
