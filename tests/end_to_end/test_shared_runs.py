"""`mode="shared"`: many processes, on one host or several, write one run at the same time.

Every process keeps its own record of what it logged, and the server is compared with that.
"""

import json
import os
import signal

import kelt
from harness.stack import eventually

#: Logs rows until told to stop, and writes each into its own record after `log()` returned.
WRITER = """
    import json, os, sys, kelt
    run = kelt.init("p", id="all", mode="shared", **json.loads(os.environ.get("MORE", "{}")))
    record = open(os.environ["RECORD"], "a", buffering=1)
    def log(row, **more):
        run.log(row, **more)
        record.write(json.dumps(row) + chr(10))
    def log_some(count, begin=0):
        for i in range(begin, begin + count):
            log({f"loss_{run.writer_label}": i + 0.5, "common": run.writer_label})
    log_some(20)
    print(run.immutable_id, run.writer_label, run.is_primary, flush=True)
    for order in sys.stdin:
        try:
            exec(order)
            print("done", flush=True)
        except kelt.UsageError as error:
            print(error, flush=True)
"""


class Writer:
    """A process that logs to the shared run, with its own record of that."""

    def __init__(self, host, folder, name, *, script=WRITER, environment=None, **more):
        self.name = name
        self.record = folder / f"{name}.jsonl"
        self.process = host.start(
            script, RECORD=str(self.record), MORE=json.dumps(more), **environment or {}
        )

    def started(self):
        self.branch_id, self.label, primary = self.process.stdout.readline().split()
        self.is_primary = primary == "True"
        return self

    def order(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self, code=0):
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode == code, err
        return err

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    @property
    def recorded(self):
        return [json.loads(line) for line in self.record.read_text().splitlines()]


def rows_of(reader, label, run="all"):
    page = reader.get(f"/runs/-/p/{run}/history", label=label, limit=10000)
    assert page["next"] is None
    return page["rows"]


def compare(reader, *writers, run="all"):
    """Every writer's rows at the server are those that it recorded, with steps of their own."""

    def check():
        for writer in writers:
            rows = rows_of(reader, writer.label, run)
            assert [row["values"] for row in rows] == writer.recorded
            assert [row["step"] for row in rows] == list(range(len(rows)))
        return True

    eventually(check)


def session(run, label):
    found = [s for s in run["sessions"] if s["label"] == label]
    assert len(found) == 1, run["sessions"]
    return found[0]


def until_state(reader, state, run="all"):
    return eventually(lambda: (r := reader.run(run))["state"] == state and r or None)


def test_ranks_of_a_job_that_start_at_once_write_one_run(host, reader, server, tmp_path):
    ranks = [
        Writer(
            host,
            tmp_path,
            f"rank_{rank}",
            environment={"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "4"},
            config={f"of_{rank}": rank},
        )
        for rank in range(4)
    ]
    assert len({writer.started().branch_id for writer in ranks}) == 1
    assert [writer.is_primary for writer in ranks] == [True, False, False, False]
    for writer in reversed(ranks):
        writer.end()
    run = until_state(reader, "finished")
    compare(reader, *ranks)
    run = reader.run("all")
    assert (run["archived"], run["problems"], run["rows"]) == ([], [], 80)
    assert run["config"] == {f"of_{rank}": rank for rank in range(4)}
    assert sorted(run["labels"]) == [writer.name for writer in ranks]
    assert {s["state"] for s in run["sessions"]} == {"finished"}
    with kelt.Api(server.url) as api:
        found = api.run("local/p/all")
        losses = [f"loss_rank_{rank}" for rank in range(4)]
        assert [
            row[losses[3]] for row in found.scan_history(losses)
        ] == []  # common keeps them apart
        assert [row["common"] for row in found.scan_history(["common"], max_step=0)].count(
            "rank_2"
        ) == 1
        assert [w.label for w in found.writers if w.is_primary] == ["rank_0"]
    assert host.daemon_alive()


def test_a_writer_dies_alone_and_the_run_with_its_primary(host, other_host, reader, tmp_path):
    primary = Writer(host, tmp_path, "lead", label="lead", primary=True).started()
    near = Writer(host, tmp_path, "near", label="near", primary=False).started()
    far = Writer(other_host, tmp_path, "far", label="far", primary=False).started()
    assert primary.branch_id == near.branch_id == far.branch_id
    eventually(lambda: reader.run("all")["rows"] == 60 or None)
    near.kill()

    def near_is_dead():
        run = reader.run("all")
        assert session(run, "near")["state"] == "crashed"
        return run

    run = eventually(near_is_dead)
    assert "SIGKILL" in session(run, "near")["reason"]
    assert (run["state"], session(run, "far")["state"]) == ("running", "running")
    assert any("near" in problem for problem in run["problems"])
    primary.kill()
    run = until_state(reader, "crashed")
    assert "SIGKILL" in run["reason"]
    assert session(run, "far")["state"] == "running"
    assert far.order("log_some(30, 20)") == "done"
    far.end()
    run = eventually(lambda: (r := reader.run("all"))["rows"] == 90 and r or None)
    assert session(run, "far")["state"] == "finished"
    assert (run["state"], run["archived"]) == ("crashed", [])
    compare(reader, primary, near, far)
    out, _ = host.kelt("runs", "show", "p/all")
    assert "lead (primary)  crashed" in out
    assert "near            crashed" in out


def test_offline_writers_of_two_hosts_become_one_run_in_any_order(
    host, other_host, reader, tmp_path
):
    offline = {"KELT_MODE": "offline"}
    first = Writer(
        host, tmp_path, "a", environment=offline, label="a", primary=True, config={"lr": 1}
    ).started()
    second = Writer(other_host, tmp_path, "b", environment=offline, label="b", primary=False)
    assert second.started().branch_id == first.branch_id
    first.end()
    second.end()
    other_host.kelt("sync")  # the writer that is not the primary comes first
    assert eventually(lambda: reader.run("all")["rows"] == 20 or None)
    host.kelt("sync")
    run = eventually(lambda: (r := reader.run("all"))["rows"] == 40 and r or None)
    assert (run["state"], run["archived"], run["problems"]) == ("finished", [], [])
    assert run["config"] == {"lr": 1}
    compare(reader, first, second)


def test_only_a_primary_that_writes_alone_rewinds_and_others_then_join_what_it_left(
    host, other_host, reader, tmp_path
):
    primary = Writer(host, tmp_path, "lead", label="lead", primary=True).started()
    near = Writer(host, tmp_path, "near", label="near", primary=False).started()
    far = Writer(other_host, tmp_path, "far", label="far", primary=False).started()
    eventually(lambda: reader.run("all")["rows"] == 60 or None)
    assert "only the primary" in near.order("run.rewind(5)")
    told = primary.order("run.rewind(5)")
    assert "near on this host" in told
    assert "far on " in told
    near.end()
    told = primary.order("run.rewind(5)")
    assert "far on " in told
    assert "near" not in told
    far.end()
    eventually(lambda: session(reader.run("all"), "far")["state"] == "finished" or None)
    assert primary.order("run.rewind(5)") == "done"
    assert primary.order("log_some(3, 6)") == "done"
    run = eventually(lambda: (r := reader.run("all"))["kind"] == "rewound" and r or None)
    assert run["archived"] == [far.branch_id]
    again = Writer(other_host, tmp_path, "again", label="again", primary=False).started()
    beside = Writer(host, tmp_path, "beside", label="beside", primary=False).started()
    assert {again.branch_id, beside.branch_id} == {run["immutable_id"]}
    for writer in (again, beside, primary):
        writer.end()
    run = until_state(reader, "finished")
    compare(reader, again, beside)
    steps = [row["step"] for row in rows_of(reader, "lead")]
    assert steps == list(range(9))
    assert [row["step"] for row in rows_of(reader, "far")] == list(range(6))
    assert reader.run("all")["problems"] == []


def test_children_of_a_process_with_an_open_run_write_to_a_shared_run(host, reader, tmp_path):
    out, _ = host.run(
        """
        import json, multiprocessing, os, sys, time, kelt

        def child(name, rows):
            run = kelt.init("p", id="all", mode="shared", label=name, primary=name == "fork_0")
            assert run is kelt.run and run.id == "all" and run.writer_label == name
            with open(os.environ["RECORD"] + name, "w") as record:
                for i in range(rows):
                    run.log({"i": i, "who": name})
                    record.write(json.dumps({"i": i, "who": name}) + chr(10))
            run.finish()

        if __name__ == "__main__":
            parent = kelt.init("p", id="parent")
            for i in range(100):
                parent.log({"i": i})
            fork = multiprocessing.get_context("fork")
            children = [fork.Process(target=child, args=(f"fork_{n}", 50)) for n in range(3)]
            for c in children:
                c.start()
            parent.log({"i": 100})
            for c in children:
                c.join(60)
            print([c.exitcode for c in children], kelt.run is parent)
            parent.finish()
        """,
        RECORD=str(tmp_path / "of-"),
    )
    assert out.split() == ["[0,", "0,", "0]", "True"]
    run = eventually(lambda: (r := reader.run("all"))["rows"] == 150 and r or None)
    assert (run["archived"], sorted(run["labels"])) == ([], ["fork_0", "fork_1", "fork_2"])
    for name in run["labels"]:
        recorded = (tmp_path / f"of-{name}").read_text().splitlines()
        assert [row["values"] for row in rows_of(reader, name)] == list(map(json.loads, recorded))
    assert until_state(reader, "finished")
    assert reader.steps("parent") == list(range(101))


def test_a_spawned_child_and_a_forked_logger_are_writers_of_their_own(host, reader, tmp_path):
    script = tmp_path / "spawning.py"
    script.write_text("""
import multiprocessing, os, kelt

def child():
    run = kelt.init("p", id="all", mode="shared")
    run.log({"child": run.writer_label})
    print(run.is_primary, flush=True)
    run.finish()

if __name__ == "__main__":
    run = kelt.init("p", id="all", mode="shared", label="lead")
    run.log({"lead": 1})
    print(run.is_primary, flush=True)
    spawned = multiprocessing.get_context("spawn").Process(target=child)
    spawned.start()
    spawned.join(60)
    pid = os.fork()
    if pid == 0:
        run.log({"forked": os.getpid()})  # the parent's run, from a forked child
        os._exit(0)
    os.waitpid(pid, 0)
    run.log({"lead": 2})
    run.finish()
""")
    out, _ = host.run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert out.split() == ["True", "False"]
    run = until_state(reader, "finished")
    run = eventually(lambda: (r := reader.run("all"))["rows"] == 4 and r or None)
    assert len(run["labels"]) == 3
    forked = next(label for label in run["labels"] if label.startswith("lead."))
    assert rows_of(reader, forked)[0]["values"].keys() == {"forked"}
    assert [s["label"] for s in run["sessions"] if s["is_primary"]] == ["lead"]


def test_a_shared_run_is_forked_resumed_and_guarded_against_a_session_that_is_not_shared(
    host, other_host, reader, tmp_path
):
    first = Writer(host, tmp_path, "a", label="a", primary=True).started()
    second = Writer(other_host, tmp_path, "b", label="b", primary=False).started()
    assert second.order("log_some(10, 20)") == "done"
    eventually(lambda: reader.run("all")["rows"] == 50 or None)
    out, _ = host.run("""
        import kelt
        try:
            kelt.init("p", id="all")
        except kelt.UsageError as error:
            print(error)
        fork = kelt.init("p", id="child", fork_from="all?_step=25")
        fork.log({"own": 1})
        fork.finish()
    """)
    assert "being written by others at this time (a on this host)" in out
    assert "mode='shared'" in out
    first.end()
    second.end()
    until_state(reader, "finished")
    steps = eventually(lambda: (s := reader.steps("child")) and len(s) == 47 and s or None)
    assert steps[-7:] == [20, 21, 22, 23, 24, 25, 26]
    out, err = host.run("""
        import kelt
        run = kelt.init("p", id="all", resume="must")
        print(run.step)
        run.log({"later": 1})
    """)
    assert out.split() == ["30"]
    assert "being written" not in err
    run = eventually(lambda: (r := reader.run("all"))["last_step"] == 30 and r or None)
    assert (run["rows"], run["archived"]) == (51, [])


def test_the_documented_wandb_script_runs_as_it_is(host, reader):
    host.run("""
        import kelt as wandb
        run = wandb.init(
            project="p",
            id="all",
            settings=wandb.Settings(
                x_label="rank_1", mode="shared", x_primary=False, x_update_finish_state=False
            ),
        )
        run.log({"x": 1})
        run.finish()
    """)
    run = eventually(lambda: (r := reader.run("all"))["rows"] == 1 and r or None)
    assert (run["labels"], run["sessions"][0]["is_primary"]) == (["rank_1"], False)
