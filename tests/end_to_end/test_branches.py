"""Fork, rewind and resume: online, offline, nested, in process, and on hosts that know nothing."""

import json

from harness.stack import eventually

LOG = """
    import json, sys, kelt
    options = json.loads(sys.argv[1])
    steps, tag = options.pop("steps"), options.pop("tag")
    run = kelt.init("p", **options)
    print(json.dumps({"immutable_id": run.immutable_id, "config": dict(run.config),
                      "summary": {k: v for k, v in dict(run.summary).items() if k[0] != "_"}}))
    for _ in range(steps):
        run.log({"x": tag})
    run.finish()
"""


def log(host, *, steps, tag, **options):
    out, _ = host.run(LOG, json.dumps({"steps": steps, "tag": tag, **options}))
    return json.loads(out.splitlines()[0])


def history(reader, name, expected):
    wanted = [{"step": step, "x": tag} for step, tag in expected]
    found = eventually(lambda: (h := reader.history(name)) == wanted and h or None)
    assert (found or reader.history(name)) == wanted


def test_a_fork_inherits_up_to_its_step_and_leaves_the_source_alone(host, reader):
    log(host, id="base", steps=10, tag=1, config={"lr": 1, "kept": True})
    told = log(host, id="child", fork_from="base?_step=4", steps=3, tag=2, config={"lr": 2})
    assert told["config"] == {"lr": 2, "kept": True}
    assert told["summary"] == {"x": 1}
    history(reader, "child", [(s, 1) for s in range(5)] + [(s, 2) for s in (5, 6, 7)])
    history(reader, "base", [(s, 1) for s in range(10)])
    run = reader.run("child")
    assert run["config"] == {"lr": 2, "kept": True}
    assert [(p["run_id"], p["fork_step"]) for p in run["lineage"]] == [("base", 4)]
    assert run["problems"] == []


def test_a_rewind_keeps_the_name_and_archives_the_old_branch(host, reader):
    first = log(host, id="r", steps=10, tag=1, config={"a": 1})
    second = log(host, id="r", resume_from="r?_step=6", steps=2, tag=2, config={"b": 2})
    assert first["immutable_id"] != second["immutable_id"]
    assert second["config"] == {"a": 1, "b": 2}
    history(reader, "r", [(s, 1) for s in range(7)] + [(7, 2), (8, 2)])
    history(reader, first["immutable_id"], [(s, 1) for s in range(10)])
    run = reader.run("r")
    assert run["immutable_id"] == second["immutable_id"]
    assert run["archived"] == [first["immutable_id"]]
    assert run["config"] == {"a": 1, "b": 2}


def test_resume_goes_on_where_the_run_stands(host, reader):
    first = log(host, id="r", steps=5, tag=1)
    second = log(host, id="r", resume="must", steps=5, tag=2)
    assert first["immutable_id"] == second["immutable_id"]
    history(reader, "r", [(s, 1) for s in range(5)] + [(s, 2) for s in range(5, 10)])
    assert len(reader.run("r")["sessions"]) == 2


def test_resume_on_a_host_that_knows_nothing_asks_the_server(host, other_host, reader):
    log(host, id="r", steps=5, tag=1, config={"from": "here"})
    eventually(lambda: reader.run("r")["state"] == "finished" or None)
    told = log(other_host, id="r", resume="allow", steps=2, tag=2)
    assert told["config"] == {"from": "here"}
    history(reader, "r", [(s, 1) for s in range(5)] + [(5, 2), (6, 2)])


def test_resume_elsewhere_without_network_is_settled_when_both_have_arrived(
    host, other_host, reader, server
):
    log(host, id="r", steps=5, tag=1)
    eventually(lambda: reader.run("r")["state"] == "finished" or None)
    server.stop()
    other_host.run(
        LOG, json.dumps({"steps": 3, "tag": 2, "id": "r", "resume": "allow"}),
        KELT_INIT_TIMEOUT_S="1", KELT_FINISH_TIMEOUT_S="0.2",
    )  # fmt: skip
    server.start()
    history(reader, "r", [(s, 1) for s in range(5)] + [(s, 2) for s in (5, 6, 7)])


def test_branches_nest_to_any_depth_without_network_and_arrive_in_any_order(host, reader, server):
    server.stop()
    options = {"mode": "offline"}
    log(host, id="a", steps=10, tag=0, **options)
    log(host, id="b", fork_from="a?_step=7", steps=5, tag=1, **options)
    log(host, id="b", resume_from="b?_step=9", steps=3, tag=2, **options)
    log(host, id="c", fork_from="b?_step=10", steps=2, tag=3, **options)
    log(host, id="c", resume="must", steps=2, tag=4, **options)
    log(host, id="d", fork_from="c?_step=3", steps=1, tag=5, **options)
    server.start()
    # last first
    folders = sorted((host.state_dir / "runs").iterdir(), reverse=True)
    assert len(folders) == 6
    for folder in folders:
        host.kelt("sync", folder)
    a = [(s, 0) for s in range(10)]
    b = a[:8] + [(8, 1), (9, 1), (10, 2), (11, 2), (12, 2)]
    c = b[:11] + [(11, 3), (12, 3), (13, 4), (14, 4)]
    history(reader, "a", a)
    history(reader, "b", b)
    history(reader, "c", c)
    history(reader, "d", [*c[:4], (4, 5)])
    assert [p["run_id"] for p in reader.run("c")["lineage"]] == ["b", "b", "a"]


def test_an_immutable_id_can_be_forked_after_its_name_has_moved(host, reader):
    first = log(host, id="r", steps=10, tag=1)
    log(host, id="r", resume_from="r?_step=2", steps=1, tag=2)
    log(host, id="f", fork_from=f"{first['immutable_id']}?_step=8", steps=1, tag=3)
    history(reader, "f", [(s, 1) for s in range(9)] + [(9, 3)])


def test_rewind_in_the_middle_of_training_archives_what_was_logged_after_the_step(host, reader):
    out, _ = host.run("""
        import kelt
        run = kelt.init("p", id="spike", config={"lr": 1})
        run.define_metric("x", summary="min,max")
        for i in range(10):
            run.log({"x": i if i < 6 else 1000})
        before = run.immutable_id
        run.rewind(5)
        assert dict(run.summary) == {"x": 5, "x.min": 0, "x.max": 5}, dict(run.summary)
        assert run.immutable_id != before
        for i in range(3):
            run.log({"x": 1})
        print(before)
        run.finish()
    """)
    before = out.split()[-1]
    history(reader, "spike", [(s, s) for s in range(6)] + [(s, 1) for s in (6, 7, 8)])
    history(reader, before, [(s, s) for s in range(6)] + [(s, 1000) for s in range(6, 10)])
    run = eventually(lambda: (r := reader.run("spike"))["state"] == "finished" and r or None)
    assert {"x": 1, "x.min": 0, "x.max": 5}.items() <= run["summary"].items()
    assert run["archived"] == [before]


def test_fork_in_the_middle_of_training_keeps_both_runs_open(host, reader):
    host.run("""
        import kelt
        parent = kelt.init("p", id="parent", config={"lr": 1})
        for i in range(5):
            parent.log({"x": 0})
        child = parent.fork(2, id="child", config={"lr": 2})
        assert kelt.run is child
        assert child.config["lr"] == 2
        child.log({"x": 1})
        parent.log({"x": 2})
        kelt.log({"x": 3})
        child.finish()
        assert kelt.run is parent, kelt.run
        parent.log({"x": 4})
        parent.finish()
    """)
    history(reader, "parent", [(s, 0) for s in range(5)] + [(5, 2), (6, 4)])
    history(reader, "child", [(s, 0) for s in range(3)] + [(3, 1), (4, 3)])
    assert reader.run("child")["config"] == {"lr": 2}
    assert reader.run("parent")["config"] == {"lr": 1}


def test_points_that_cannot_be_are_refused_with_what_would_do(host):
    log(host, id="base", steps=10, tag=1)
    for point, words in [
        ("base?_step=10", ["9"]),
        ("base?_step=-1", ["-1"]),
        ("base?_step=x", ["_step"]),
        ("base?epoch=3", ["epoch", "_step"]),
        ("base", ["?_step="]),
        ("nobody?_step=1", ["nobody"]),
    ]:
        _, err = host.run(f'import kelt\nkelt.init("p", id="bad", fork_from="{point}")', code=1)
        last = err.strip().splitlines()[-1]
        assert all(word in last for word in words), err


def test_resume_fork_from_and_resume_from_exclude_each_other(host):
    for options in [
        'resume="must", fork_from="a?_step=1"',
        'fork_from="a?_step=1", resume_from="a?_step=1"',
    ]:
        _, err = host.run(f'import kelt\nkelt.init("p", id="a", {options})', code=1)
        assert "fork_from" in err.strip().splitlines()[-1]


def test_a_run_id_in_use_loses_nothing_and_says_so(host, reader):
    first = log(host, id="same", steps=3, tag=1)
    _, err = host.run(LOG, json.dumps({"steps": 2, "tag": 2, "id": "same"}))
    assert first["immutable_id"] in err
    assert "resume" in err
    history(reader, "same", [(0, 2), (1, 2)])
    history(reader, first["immutable_id"], [(s, 1) for s in range(3)])
